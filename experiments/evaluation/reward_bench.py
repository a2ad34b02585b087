"""What rewards are looked at with before any training: a world model, held-out clips, and each reward there is."""

import dataclasses
import textwrap
from typing import Any

import numpy as np

from experiments.evaluation.dreamer import latents_of, spread_clips
from experiments.evaluation.evaluate import exchange_actions
from experiments.run.config_file import UsageError
from experiments.stages import build
from experiments.stages.clip_stores import open_store, split
from experiments.stages.inverse_dynamics import judge_of
from experiments.stages.world_model import load_last_checkpoint
from prowl_jax.rewards import OF_BRANCHES, REWARDS
from prowl_jax.rewards.inverse_dynamics import NAME, WHOLE, make_inverse_dynamics
from prowl_jax.types import Clip


@dataclasses.dataclass(frozen=True)
class Bench:
    """A world model and what its rewards are asked about.

    Attributes:
      model, params: the world model; what rewards need besides is among the parameters. context: S, latents seen.
      flow: optical flow, see ``rewards.dream``. rewards: name -> ``f(params, dream [..., K]) -> [..., K]``.
      clips: numpy ``[B, T, ...]``, each a context and ``frames`` frames after it, whole chunks.
      spec: the ``ActionSpec``. judge: an ``InverseDynamics``, its weights ``params["inverse_dynamics"]``; or None.
      key: of all noise. head: what the figures are of, for their file.
    """

    model: Any
    params: dict
    context: int
    flow: Any
    rewards: dict
    clips: Clip
    spec: Any
    judge: Any
    key: Any
    head: dict

    @property
    def seen(self):
        """Frames of a context."""
        return self.model.frames_of(self.context)

    @property
    def frames(self):
        """Frames that are dreamt."""
        return self.clips.actions.shape[1] - self.seen

    def led(self):
        """The actions that led to the frames that are dreamt, ``[B, T', A]``."""
        return self.clips.actions[:, self.seen - 1 : -1]

    def batches(self, rows):
        """The clips, ``rows`` at a time, all of one shape: (clips, those with the next clip's actions, how many count).

        The last are filled up with the first; the actions exchanged are those after the context.
        """
        exchanged, total = exchange_actions(self.clips, self.seen), len(self.clips.actions)
        for start in range(0, total, rows):
            chosen = np.arange(start, start + rows) % total
            some, other = (Clip(x.frames[chosen], x.actions[chosen]) for x in (self.clips, exchanged))
            yield some, other, min(rows, total - start)


def make_bench(run, clips, frames, purpose):
    """The ``Bench`` of a run's world model as its last checkpoint has it.

    Args:
      run: a ``Run``, which is only read. clips: how many held-out ones, at most.
      frames: dreamt, made whole chunks; None: ``phase2.horizon`` latents, what methods train on.
      purpose: whose noise.

    Raises:
      UsageError: fewer than two clips, or episodes that are too short.
    """
    config, model, context = run.config, build.make_world_model(run.config), build.make_budget(run.config).context
    latents = latents_of(model, context, frames) if frames else context + config.phase2.horizon
    store = open_store(run)
    held_out = spread_clips(store, split(run, store)[1], clips, model.frames_of(latents), config.seed)
    if len(held_out.actions) < 2:
        raise UsageError("a single held-out clip tells nothing of a reward: at least 2 are needed")
    (params, step), judge = load_last_checkpoint(run), judge_of(run)
    rewards = {**REWARDS, **OF_BRANCHES, **build.lpips_rewards(config)}
    if judge is not None:
        params = {**params, NAME: judge[1]}
        for name, whole in ((NAME, False), (WHOLE, True)):
            rewards[name] = make_inverse_dynamics(judge[0], model.action_sizes, whole)
    head = {"name": config.base or config.name, "task": config.env.task, "step": step, "judge": judge is not None}
    head |= {"clips": len(held_out.actions), "frames": model.frames_of(latents) - model.frames_of(context)}
    return Bench(
        model, params, context, build.make_flow(config), rewards, held_out, build.spec_of(config),
        judge and judge[0], build.stage_key(config, purpose), head,
    )  # fmt: skip


def wrapped(sentence):
    """A sentence of a verdict as lines of a table."""
    return textwrap.wrap(sentence, 110, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
