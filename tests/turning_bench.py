"""What the tests of tables of rewards look at: textures that turn, a judge that sees which way, a ``Bench`` of both."""


import jax
import jax.numpy as jnp
import numpy as np
from toy_world_model import turned

from experiments.evaluation.reward_bench import Bench
from prowl_jax.actions import ActionSpec, choice
from prowl_jax.rewards.flow_magnitude import flow_magnitude
from prowl_jax.rewards.inverse_dynamics import NAME, make_inverse_dynamics
from prowl_jax.rewards.regret import regret
from prowl_jax.types import Clip

SPEC = ActionSpec((choice("turn", "left", "right"), choice("call", "on")))
CONTEXT, CLIPS, FRAMES, SIDE = 2, 10, 4, 12


def turning_clips():
    """``CLIPS`` textures that turn as the actions say."""
    rng = np.random.default_rng(0)
    actions = rng.integers(0, SPEC.sizes, (CLIPS, CONTEXT + FRAMES, 2)).astype(np.int32)
    frames = [rng.integers(60, 200, (CLIPS, SIDE, SIDE, 3)).astype(np.uint8)]
    for t in range(CONTEXT + FRAMES - 1):
        frames.append(np.asarray(jax.vmap(turned)(frames[-1], actions[:, t])))
    return Clip(np.stack(frames, 1), actions)


class Judge:
    """Reads off which way a picture went, and never hears a call."""

    sizes = SPEC.sizes

    def apply(self, params, frames):
        before, after = frames[:, :-1].astype(jnp.float32), frames[:, 1:].astype(jnp.float32)
        apart = [jnp.abs(jnp.roll(before, shift, axis=3) - after).mean((2, 3, 4)) for shift in (0, 1, -1)]
        never = [jnp.zeros_like(apart[0]), jnp.full_like(apart[0], -1.0)]
        return jnp.stack([*(-x for x in apart), *never], axis=-1)


def change(params, first, second):
    """In the place of an optical flow."""
    del params
    return (second - first)[..., :2]


def bench_of(model, **more):
    """A ``Bench`` with three rewards and ``more``."""
    rewards = {"regret": regret, "flow_magnitude": flow_magnitude, NAME: make_inverse_dynamics(Judge(), SPEC.sizes)}
    head = {"name": "toy", "task": "turn", "step": 3, "judge": True, "clips": CLIPS, "frames": FRAMES}
    return Bench(
        model, {NAME: {}}, CONTEXT, change, {**rewards, **more}, turning_clips(), SPEC, Judge(), jax.random.key(0), head
    )
