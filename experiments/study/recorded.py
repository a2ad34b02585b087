"""Recordings that no run has learned from: behaviours played anew, for what can be mended to be learned and measured.

  wide   keys held at random, of all actions (``envs/held_keys.py``): what a model that shall know everything sees
  gaps   what the demonstrations leave out, done often and with a calm camera (the task ``control``)

and any task by its name. What is learned from, developed on and tested on comes from other seeds (``SPLITS``).
"""

import dataclasses
import itertools

import numpy as np

from experiments.run.config_file import UsageError
from experiments.stages import build
from prowl_jax.envs.gaps import Gaps, happens
from prowl_jax.types import Clip

TASKS = {"wide": "wide", "gaps": "control"}
"""Kind of recording -> the task whose demonstrator makes it."""
SPLITS = ("learn", "develop", "test")
FIRST_SEED = 700_000
"""Demonstrations of runs have lower seeds."""


@dataclasses.dataclass(frozen=True)
class Recorded:
    """Episodes of one length, and what happened in them.

    Attributes:
      clips: ``Clip`` of numpy arrays, frames uint8 ``[E, T, H, W, 3]``, actions int32 ``[E, T, A]``.
      happened: name -> bool ``[E, T]``, in which steps: things that can be planted as gaps, and events of the world.
    """

    clips: Clip
    happened: dict

    def gather(self, episodes, starts, length):
        """``Clip`` of the windows of ``length`` frames at ``starts [B]`` of ``episodes [B]``."""
        rows = np.asarray(episodes)[:, None], np.asarray(starts)[:, None] + np.arange(length)
        return Clip(self.clips.frames[rows], self.clips.actions[rows])

    def spread(self, count, length):
        """(``Clip`` of ``count`` windows, name -> bool ``[count, length]``), evenly spread over the episodes."""
        chosen, starts = self._spread(count, length)
        rows = chosen[:, None], starts[:, None] + np.arange(length)
        return self.gather(chosen, starts, length), {name: shown[rows] for name, shown in self.happened.items()}

    def spread_episodes(self, count, length):
        """The episode of each of these windows, int ``[count]``."""
        return self._spread(count, length)[0]

    def _spread(self, count, length):
        episodes, frames = self.clips.actions.shape[:2]
        every = np.linspace(0, episodes * (frames - length + 1) - 1, count).round().astype(int)
        return np.divmod(every, frames - length + 1)


def record(config, kind, split, episodes, frames):
    """``Recorded`` episodes of a kind; the same for the same arguments, and others for every kind and split.

    Raises:
      UsageError: the environment has no such task, or its episodes ended before they were ``frames`` long.
    """
    environment, task = build.make_environment(config), TASKS.get(kind, kind)
    if task not in (environment.tasks or ()):
        raise UsageError(f"the environment {environment.name} has no task {task}, which {kind} is recorded of")
    gaps, seed = gaps_done(config, task), seed_of(config, kind, split)
    made = environment.record(task, frames, episodes, seed, gaps=gaps, num_envs=episodes)
    made = [episode for episode in made if len(episode[0]) == frames]
    if not made:
        raise UsageError(f"{task}: no episode was as long as {frames} frames")
    clips = Clip(*(np.stack(parts) for parts in zip(*made, strict=True)))
    happened = {f"does {k}": v for k, v in happens(environment.spec, clips.actions, limits_of(config)).items()}
    if environment.events and len(made) == episodes:
        seeds = np.random.SeedSequence([seed, 0]).generate_state(episodes)
        info = environment.demonstrated_info(task, frames, seeds, gaps)
        events = {k.removeprefix("event_"): v for k, v in info.items() if k.startswith("event_")}
        happened |= {name: np.asarray(v).T.astype(bool) for name, v in events.items()}
    return Recorded(clips, happened)


def gaps_done(config, task):
    """The ``Gaps`` that ``control`` does, those planted in the base model's demonstrations; None for other tasks."""
    return build.gaps_of(config, task) if task == TASKS["gaps"] else None


def limits_of(config):
    """The ``Gaps`` of the configuration, for their limits."""
    return Gaps(**config.demonstrations.gaps)


def seed_of(config, kind, split):
    """The seed of a kind's recording: of the data's seed, the kind's name and the split."""
    name = sum(byte * (i + 1) for i, byte in enumerate(kind.encode()))
    return FIRST_SEED + 10_000 * build.data_seed(config) + 10 * name + SPLITS.index(split)


def mixed(first, fetches, rows):
    """``f(step) -> Clip``: ``rows`` rows of each of several ``f(step, rows) -> Clip``, one after the other."""

    def fetch(step):
        parts = [one(step, n) for one, n in zip((first, *fetches), rows, strict=True)]
        return Clip(*(np.concatenate(x) for x in ([p.frames for p in parts], [p.actions for p in parts])))

    return fetch


def drawn(recorded, length, seed):
    """``f(step, rows) -> Clip``: windows of ``length`` frames drawn uniformly, a pure function of the step."""
    episodes, frames = recorded.clips.actions.shape[:2]

    def fetch(step, rows):
        generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 1, step]))
        return recorded.gather(
            generator.integers(0, episodes, rows), generator.integers(0, frames - length + 1, rows), length
        )

    return fetch


def pooled(parts):
    """Several (``Clip``, happened) as one, of what all of them know."""
    clips = [clip for clip, _ in parts]
    known = set.intersection(*(set(happened) for _, happened in parts))
    return (
        Clip(np.concatenate([c.frames for c in clips]), np.concatenate([c.actions for c in clips])),
        {name: np.concatenate([happened[name] for _, happened in parts]) for name in parts[0][1] if name in known},
    )


def spread_over(total, names):
    """name -> its part of ``total`` as a whole number, the first ones one more."""
    return {name: len(range(i, total, len(names))) for i, name in zip(itertools.count(), names)}
