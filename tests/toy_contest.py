"""Dreams whose quality is known, to be voted on: one model is right in every pixel, the other sees a blur."""

import dataclasses
import types

import numpy as np

from experiments.evaluation.contest import Contest
from prowl_jax.actions import ActionSpec, choice
from prowl_jax.metrics.optical_flow import small_flow
from prowl_jax.types import Clip

SPEC = ActionSpec((choice("turn", "left", "right"),))
RIGHT, BLURRED = "toy:right", "toy:blurred"
CLIPS, SEEN, FRAMES, SIDE = 4, 2, 3, 16


@dataclasses.dataclass(frozen=True)
class ToyContest(Contest):
    """``Contest`` whose dreams need no model."""

    def dreams(self, on_batch):
        for _ in range(self.batches):
            on_batch()
        blurred = self.real.astype(float)
        for axis in (2, 3):
            blurred = (np.roll(blurred, 1, axis) + blurred + np.roll(blurred, -1, axis)) / 3
        return np.stack([self.real, np.round(blurred).astype(np.uint8)])


def toy_contest(clips=CLIPS, seed=0, flow=(small_flow, {})):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (clips, SEEN + FRAMES + 1, SIDE, SIDE, 3)).astype(np.uint8)
    actions = rng.integers(0, 3, (clips, SEEN + FRAMES + 1, 1)).astype(np.int32)
    who = tuple(types.SimpleNamespace(name=name, step=step) for name, step in ((RIGHT, 30), (BLURRED, 40)))
    return ToyContest(who, SPEC, Clip(frames, actions), SEEN, FRAMES, seed, flow)
