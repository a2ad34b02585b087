"""VPT's inverse dynamics model in the factors of Minecraft's actions, as a judge is asked."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax import minecraft
from prowl_jax.models.policies.vpt_idm import CAMERA_AXES, KEYS, MinecraftJudge
from prowl_jax.rl import categorical

SIZES = (2,) * KEYS + (minecraft.CAMERA.bins,) * CAMERA_AXES


@dataclasses.dataclass(frozen=True)
class Known:
    """Reads what its parameters say, whatever it sees."""

    sizes = SIZES

    def apply(self, params, frames):
        assert params.shape[:2] == frames.shape[:2]
        return jnp.concatenate([jax.nn.one_hot(params[..., i], n) for i, n in enumerate(SIZES)], -1)


def test_it_reads_what_the_conversion_of_recordings_would():
    rng = np.random.default_rng(0)
    read = np.stack([rng.integers(0, n, (3, 7)) for n in SIZES], -1).astype(np.int32)
    judge, frames = MinecraftJudge(Known()), np.zeros((3, 7, 8, 8, 3), np.uint8)
    logits = jax.jit(judge.apply)(read, frames)
    assert judge.sizes == minecraft.SPEC.sizes and logits.shape == (3, 6, sum(judge.sizes))
    expected = minecraft.minerl_to_factors(minecraft.vpt_to_minerl(read[..., :KEYS], read[..., KEYS:]))
    np.testing.assert_array_equal(categorical.mode(logits, judge.sizes), expected[:, :-1])
    assert len(np.unique(expected[..., 0])) == 3
