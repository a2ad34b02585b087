"""Actions as text: the phrases, the table, and both kinds of conditioning reaching the same latents."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax import minecraft
from prowl_jax.actions import ActionSpec, Camera, camera, choice
from prowl_jax.models.dit import action_text
from prowl_jax.models.dit.action_adapter import UNKNOWN, actions_of_latents
from prowl_jax.models.dit.action_text import ActionText
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.published import torch_layout
from prowl_jax.models.world_model import WorldModel

SPEC = ActionSpec((choice("move", "forward", "back"), choice("swapHands", "swapHands"), camera("yaw", Camera(bins=3))))
PHRASES = [
    *("no move", "move forward", "move back", "no swap hands", "swap hands"),
    *("yaw -10.0 degrees", "yaw +0.0 degrees", "yaw +10.0 degrees"),
]
SIZES, WIDTH, STRIDE, LATENTS = (3, 2, 3), 24, 4, 4
TIME = 1 + STRIDE * (LATENTS - 1)
FACTORS = DiT(
    channels=3, width=WIDTH, depth=1, heads=2, ffn=32, action_sizes=SIZES, chunk=2, action_frames=STRIDE,
    frequency_width=16,
)  # fmt: skip
TEXT = dataclasses.replace(FACTORS, text_width=WIDTH)
rng = np.random.default_rng(0)
Z = rng.normal(size=(1, LATENTS, 2, 4, 3)).astype(np.float32)
SIGMA = np.array([[0.3, 0.8]], np.float32)
ACTIONS = np.stack([rng.integers(0, size, (1, TIME)) for size in SIZES], axis=-1).astype(np.int32)


@pytest.fixture(scope="module")
def twins(random_params):
    """Two world models that are one: the text table holds what the other's embedding has learned."""
    params = random_params(FACTORS.init, Z, SIGMA, actions_of_latents(ACTIONS, STRIDE))["params"]
    adapter = params["action_adapter"]
    firsts = np.cumsum([0, *(size + 1 for size in SIZES[:-1])])  # rows of the unknown, which text has as zero
    adapter["embedding"][firsts] = 0.0
    table = ActionText(SIZES, np.delete(adapter["embedding"], firsts, axis=0))
    told = params | {"action_adapter": {name: leaf for name, leaf in adapter.items() if name != "embedding"}}
    return {
        "factors": (WorldModel(FACTORS, None, sampler_steps=2), params),
        "text": (WorldModel(TEXT, None, sampler_steps=2, action_text=table), told),
    }


def test_every_value_has_a_phrase():
    assert action_text.phrases(SPEC) == PHRASES
    ours = action_text.phrases(minecraft.SPEC)
    assert len(set(ours)) == len(ours) == sum(minecraft.SPEC.sizes)
    assert {"jump", "no jump", "strafe left", "hotbar 9", "pitch +0.6 degrees"} <= set(ours)


def test_the_table_is_looked_up_by_factor_and_the_unknown_is_zero():
    table = ActionText(SIZES, rng.normal(size=(8, 5)).astype(np.float32))
    told = np.asarray(jax.jit(table)(jnp.array([[2, 0, 1], [UNKNOWN] * 3])))
    np.testing.assert_array_equal(told, [table.embeddings[[2, 3, 6]], np.zeros((3, 5))])
    assert table.width == 5 and hash(WorldModel(TEXT, None, action_text=table))


@pytest.mark.parametrize("kind", ["factors", "text"])
def test_an_action_moves_the_latent_of_its_own_frames(twins, kind):
    """Action t leads to frame t + 1, which latent 1 + t // 4 shows; in one block that latent alone may move."""
    model, params = twins[kind]
    actions = np.repeat(ACTIONS, TIME + 1, axis=0)
    for t in range(TIME):
        actions[t, t, 0] = (actions[t, t, 0] + 1) % SIZES[0]
    z, sigma = (np.repeat(x, TIME + 1, axis=0) for x in (Z, SIGMA))
    velocity = np.asarray(jax.jit(model.velocity)(params, z, sigma, actions))
    moved = np.abs(velocity[:-1] - velocity[-1:]).max((2, 3, 4)) > 1e-5
    expected = np.arange(LATENTS) == 1 + np.arange(TIME)[:, None] // STRIDE
    np.testing.assert_array_equal(moved, expected)  # the last action leads out of the clip and moves nothing
    assert not expected[-1].any()


def test_text_is_the_same_path_as_factors(twins):
    velocities = [jax.jit(m.velocity)(p, Z, SIGMA, ACTIONS) for m, p in twins.values()]
    np.testing.assert_allclose(*velocities, atol=1e-5)
    dreams = [
        jax.jit(m.rollout, static_argnums=4)({"dit": p}, jax.random.key(0), Z[:, :2], ACTIONS, 1)
        for m, p in twins.values()
    ]
    np.testing.assert_allclose(*dreams, atol=1e-5)
    assert np.abs(np.asarray(velocities[0])).std() > 0.1


def test_a_fresh_text_adapter_starts_as_it_will_be_loaded():
    """Frames add nothing at first: Wan's own weights then see what they have always seen."""
    actions = jnp.zeros((1, 2, STRIDE, 3, WIDTH))
    params = jax.eval_shape(TEXT.init, jax.random.key(0), Z[:, :2], SIGMA[:, :1], actions)["params"]
    assert set(params["action_adapter"]) == {"frame", "linear_1", "linear_2"}
    with pytest.raises(AssertionError):
        jax.eval_shape(TEXT.init, jax.random.key(0), Z[:, :2], SIGMA[:, :1], actions[..., :-1])


def test_a_file_and_what_is_none(tmp_path):
    pytest.importorskip("safetensors")
    path, embeddings = tmp_path / "text.safetensors", rng.normal(size=(8, 5)).astype(np.float32)
    with pytest.raises(FileNotFoundError, match="no embedded action text at .*: python -m experiments.embed_actions"):
        action_text.load_action_text(path, SPEC)
    action_text.save(path, SPEC, embeddings, "tiny")
    loaded = action_text.load_action_text(path, SPEC)
    np.testing.assert_array_equal(loaded.embeddings, embeddings)
    assert loaded.sizes == SIZES
    other = ActionSpec((*SPEC.factors[:2], camera("yaw", Camera(bins=3, max_degrees=8.0))))
    with pytest.raises(ValueError, match="other actions .*'yaw -10.0 degrees' where it should be 'yaw -8.0 degrees'"):
        action_text.load_action_text(path, other)
    with pytest.raises(ValueError, match=r"other actions \(8 phrases, not 5\)"):
        action_text.load_action_text(path, ActionSpec(SPEC.factors[:2]))
    torch_layout.save(path, {"x": embeddings}, {})
    with pytest.raises(ValueError, match="holds no embedded action text"):
        action_text.load_action_text(path, SPEC)
