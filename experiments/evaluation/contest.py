"""World models that dream the same: held-out clips, the same context, actions and noise, for a blind comparison."""

import contextlib
import copy
import dataclasses
import itertools
import pathlib
from typing import Any

import jax
import numpy as np

from experiments.evaluation.dreamer import Dreamer, pixel_frames, spread_clips
from experiments.evaluation.evaluate import BATCH
from experiments.run.config_file import UsageError
from experiments.run.finished_run import read_config
from experiments.stages import build
from experiments.stages.card_run import config_of, recorded
from experiments.stages.clip_stores import clip_name, open_store, split
from experiments.stages.phase2 import load_arm, saved_arms
from experiments.stages.world_model import load_last_checkpoint
from prowl_jax import zoo
from prowl_jax.train.checkpoint import CheckpointError
from prowl_jax.types import Clip

EPISODES = 48
"""Recorded where no run has held out any: as many as the base models' data hold out."""
PHASE_1 = "phase1"


@dataclasses.dataclass(frozen=True)
class Contestant:
    """Who dreams.

    Attributes:
      name: as votes tell it. step: updates of phase 1, of an arm those of phase 2.
      model, params: a world model. context: latents that its dreams begin from. config: of its run, or of its card.
      run: its ``Run``; None of weights without one.
    """

    name: str
    step: int
    model: Any
    params: dict
    context: int
    config: Any
    run: Any = None


def of_run(text, example, open_run):
    """The ``Contestant`` that ``RUN`` or ``RUN:arm`` names; of a run alone it is theta_0, ``phase1``.

    Args:
      example: a configuration with every key of this version's. open_run: ``f(workdir, config) -> Run``, only read.

    Raises:
      UsageError: one line: there is no such run or arm, or it has saved nothing yet.
    """
    workdir, arm = pathlib.Path(text), PHASE_1
    if not workdir.is_dir() and ":" in text:
        workdir, arm = pathlib.Path(text.rpartition(":")[0]), text.rpartition(":")[2]
    try:
        config = read_config(workdir, example, unfinished=arm == PHASE_1)
        run = open_run(workdir, config)
        known = [PHASE_1, *saved_arms(run)]
        if arm not in known:
            raise UsageError(f"there is no arm {arm!r}; this run has {', '.join(known)}")
        if arm == PHASE_1:
            params, step = load_last_checkpoint(run)
        else:
            done = load_arm(run, arm)
            params, step = done.params, done.updates
    except (UsageError, CheckpointError, FileNotFoundError) as error:
        raise UsageError(f"--runs={text}: {error}") from None
    return _contestant(f"{workdir.resolve().name}:{arm}", step, params, config, run)


def of_weights(name, example):
    """The ``Contestant`` of shipped weights, or of a file of them; UsageError as ``card_run.config_of``."""
    config = config_of(name, example)
    step = zoo.read_card(name).get("steps", 0)
    return _contestant(pathlib.Path(name).stem, step, build.load_base(name).params, config)


def _contestant(name, step, params, config, run=None):
    model, context = build.make_world_model(config), build.make_budget(config).context
    return Contestant(name, step, model, jax.device_put(params), context, config, run)


def check(contestants):
    """UsageError of one line where they cannot be compared: too few, others' worlds, or clips that one has learned."""
    if len(contestants) < 2:
        raise UsageError("two models are compared at least: name another with --runs or --weights")
    names = [one.name for one in contestants]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"two of them are called {twice[0]}, which votes could not tell apart: rename a run's folder")
    first = contestants[0]
    for one in contestants[1:]:
        ours, theirs = build.environment_of(first.config), build.environment_of(one.config)
        if ours != theirs:
            key = next(k for k in {**ours, **theirs} if ours.get(k) != theirs.get(k))
            raise UsageError(
                f"{one.name} dreams of another world than {first.name}: {key} is {theirs.get(key)!r}, "
                f"not {ours.get(key)!r}"
            )
        (data, apart), (others, others_apart) = _learned_from(first), _learned_from(one)
        if first.run is not None and data == others and apart != others_apart:
            raise UsageError(
                f"{one.name} may have learned from what {first.name} holds out: the same demonstrations, split "
                "differently; name it first, or compare it on others"
            )


def _learned_from(one):
    """(which demonstrations a model has learned from, how some were held out)."""
    config, d = one.config, one.config.demonstrations
    seed, own = build.data_seed(config), one.run is not None and bool(config.base)
    recorded = d.source or d.play or build.make_environment(config).source
    data = recorded or (config.env.name, config.env.task, seed, own)
    return data, (d.held_out_fraction, seed if recorded else 0, d.episodes, d.episode_frames)


@dataclasses.dataclass(frozen=True)
class Contest:
    """What is compared.

    Attributes:
      contestants: ``Contestant``s of one environment. spec: its ``ActionSpec``.
      clips: ``Clip`` of numpy arrays ``[n, T, ...]``; the first ``seen`` frames are the longest of the contexts.
      frames: how many dreamt ones are shown. seed: of clips and noise.
      flow: (``f(params, first, second)``, params), the optical flow by which metrics judge: the first contestant's.
    """

    contestants: tuple
    spec: Any
    clips: Clip
    seen: int
    frames: int
    seed: int
    flow: tuple

    @property
    def pairs(self):
        """(clip, a, b): every two contestants on every clip, by their numbers."""
        two = itertools.combinations(range(len(self.contestants)), 2)
        return [(clip, a, b) for a, b in two for clip in range(len(self.clips.actions))]

    def clip_name(self, clip):
        """By what a clip shows up to its last frame that is compared."""
        end = self.seen + self.frames
        return clip_name(Clip(self.clips.frames[:, :end], self.clips.actions[:, :end]), clip)

    @property
    def batches(self):
        """How many ``dreams`` takes."""
        return len(self.contestants) * -(-len(self.clips.actions) // BATCH)

    def dreams(self, on_batch):
        """uint8 ``[contestants, n, frames, H, W, 3]``: what each makes of every clip, from the same noise."""
        key, dreamers, out = jax.random.key(self.seed), [], []
        for one in self.contestants:
            same = [d for d in dreamers if (d.model, d.context) == (one.model, one.context)]  # compiled once
            dreamer = same[0] if same else Dreamer(one.model, one.params, one.context, key, on_batch)
            dreamers += [] if same else [dreamer]
            dreamer.params = one.params
            late = self.seen - dreamer.seen
            out.append(dreamer.dream(Clip(self.clips.frames[:, late:], self.clips.actions[:, late:]), self.frames))
        return np.stack(out)

    @property
    def real(self):
        """uint8 ``[n, frames, H, W, 3]``: what really followed."""
        return self.clips.frames[:, self.seen : self.seen + self.frames]


def make_contest(contestants, clips, frames, seed):
    """The ``Contest`` of checked contestants on clips that the first run, or a recording made for it, has held out.

    Raises:
      UsageError: one line: they cannot be compared (``check``), or no episode is long enough.
    """
    check(contestants)
    first = contestants[0]
    seen = max(one.model.frames_of(one.context) for one in contestants)
    length = max(
        seen - one.model.frames_of(one.context) + pixel_frames(one.model, one.context, frames) for one in contestants
    )
    with _held_out(first) as run:
        store = open_store(run)
        some = spread_clips(store, split(run, store)[1], clips, length, seed)
    flow = build.make_flow(first.config), build.flow_params(first.config)
    return Contest(tuple(contestants), build.spec_of(first.config), some, seen, frames, seed, flow)


def _held_out(first):
    """A context manager of the run whose held-out episodes are dreamt of."""
    if first.run is not None:
        return contextlib.nullcontext(first.run)
    return recorded(copy.deepcopy(first.config), EPISODES)
