"""The world model's interface: frames to latents and back, and dreams that are what they should be."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.diffusion.flow import sigma_schedule
from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.world_model import WorldModel

SIZES, CHUNK, CONTEXT = (3, 5), 2, 4
DIT = DiT(channels=3, width=24, depth=2, heads=2, ffn=32, action_sizes=SIZES, chunk=CHUNK, frequency_width=16)
MODEL = WorldModel(DIT, Autoencoder(channels=3, widths=(8, 8), blocks=1), sampler_steps=3, sampler_shift=2.0)
rng = np.random.default_rng(0)
FRAMES = rng.integers(0, 256, (2, 3, 16, 16, 3)).astype(np.uint8)
LATENTS = rng.normal(size=(3, CONTEXT, 2, 2, 3)).astype(np.float32)
ACTIONS = np.stack([rng.integers(0, size, (3, CONTEXT + 4)) for size in SIZES], axis=-1).astype(np.int32)
KEY = jax.random.key(7)


@pytest.fixture(scope="module")
def params(random_params):
    params = random_params(MODEL.init, (16, 16, 3), 4)
    statistics = {
        "latent_mean": np.array([1, 2, 3], np.float32),
        "latent_std": np.array([0.5, 1, 2], np.float32),
    }
    return params | statistics


def test_latents_are_normalised_posterior_means(params):
    latents = jax.jit(MODEL.encode)(params, FRAMES)
    assert latents.shape == (2, 3, 2, 2, 3)
    pixels = FRAMES.reshape(6, 16, 16, 3) / np.float32(127.5) - 1  # 0..255 to -1..1
    mean, _ = MODEL.autoencoder.apply({"params": params["autoencoder"]}, pixels, method="encode")
    raw = np.asarray(latents).reshape(6, 2, 2, 3) * params["latent_std"] + params["latent_mean"]
    np.testing.assert_allclose(raw, mean, atol=1e-5)


def test_decoded_frames_are_in_0_to_1(params):
    latents = 20.0 * LATENTS  # far out, so that both ends are reached
    frames = np.asarray(jax.jit(MODEL.decode)(params, latents))
    assert frames.shape == (3, CONTEXT, 16, 16, 3)
    assert frames.min() == 0.0 and frames.max() == 1.0
    raw = latents.reshape(12, 2, 2, 3) * params["latent_std"] + params["latent_mean"]
    decoded = MODEL.autoencoder.apply({"params": params["autoencoder"]}, raw, method="decode")
    np.testing.assert_allclose(frames.reshape(12, 16, 16, 3), np.clip(decoded / 2 + 0.5, 0, 1), atol=1e-4)


dream = jax.jit(MODEL.rollout, static_argnums=(4, 5))


def test_the_cached_rollout_is_the_plain_one(params):
    """Every chunk once more without a cache: whole windows, clean past, first action unknown."""
    n_chunks = 2
    ours = dream(params, KEY, LATENTS, ACTIONS, n_chunks, False)
    noise = np.asarray(jax.random.normal(KEY, (3, n_chunks * CHUNK, 2, 2, 3)))
    sigmas = np.asarray(sigma_schedule(3, 2.0))
    full = jax.jit(lambda *inputs: DIT.apply({"params": inputs[0]}, *inputs[1:])[0])

    everything = LATENTS
    for chunk in range(n_chunks):
        start = chunk * CHUNK  # of the window in the clip
        led_to = ACTIONS[:, start : start + CONTEXT + CHUNK - 1, None]  # to all its latents but the first
        led_to = np.concatenate([np.full_like(led_to[:, :1], -1), led_to], axis=1)
        z = noise[:, start : start + CHUNK]
        for now, after in itertools.pairwise(sigmas):
            window = np.concatenate([everything[:, start:], z], axis=1)
            sigma = np.tile(np.array([0, 0, now], np.float32), (3, 1))
            z = z + (after - now) * np.asarray(full(params["dit"], window, sigma, led_to))[:, CONTEXT:]
        everything = np.concatenate([everything, z], axis=1)
    np.testing.assert_allclose(ours, everything[:, CONTEXT:], atol=1e-4)


@pytest.mark.parametrize("t, changed", [(3, [1, 1]), (4, [1, 1]), (5, [0, 1]), (7, [0, 0])])
def test_actions_reach_the_chunks_they_lead_to(params, t, changed):
    """Latents 0-3 are real, 4-5 and 6-7 dreamt; action t leads to latent t+1, the last to none."""
    actions = ACTIONS.copy()
    actions[:, t] = (actions[:, t] + 1) % 3
    ours, theirs = (dream(params, KEY, LATENTS, a, 2, False) for a in (actions, ACTIONS))
    change = np.abs(ours - theirs)
    np.testing.assert_array_equal(change.reshape(3, 2, -1).max(-1) > 1e-6, np.array([changed] * 3, bool))


def test_a_dream_is_repeatable_and_depends_on_its_key(params):
    first = dream(params, KEY, LATENTS, ACTIONS, 2, False)
    np.testing.assert_array_equal(first, dream(params, KEY, LATENTS, ACTIONS, 2, False))
    other = dream(params, jax.random.key(8), LATENTS, ACTIONS, 2, False)
    assert (np.abs(first - other).max((2, 3, 4)) > 1e-3).all()


def test_with_common_noise_a_dream_does_not_depend_on_its_row_or_neighbours(params):
    together = np.asarray(dream(params, KEY, LATENTS, ACTIONS, 2, True))
    order = np.array([2, 0, 1])
    moved = dream(params, KEY, LATENTS[order], ACTIONS[order], 2, True)
    np.testing.assert_allclose(moved, together[order], atol=1e-5)
    same = np.zeros(3, int)
    twins = np.asarray(dream(params, KEY, LATENTS[same], ACTIONS[same], 2, True))
    np.testing.assert_allclose(twins, together[same], atol=1e-5)
    apart = np.asarray(dream(params, KEY, LATENTS[same], ACTIONS[same], 2, False))
    assert np.abs(apart[0] - apart[1]).max() > 1e-2  # without it, each row has its own noise


@dataclasses.dataclass(frozen=True)
class RecordingDiT:
    """Stands where the DiT does, writes down the levels it is told, and always answers zero."""

    record: list = dataclasses.field(compare=False)
    chunk: int = CHUNK
    action_frames: int = 1
    shortcut: int = 0

    def apply(self, variables, z, sigma, actions, memory=None, length=None):
        def note(sigma, z):
            self.record.append((memory is not None, np.array(sigma), np.array(z)))

        jax.debug.callback(note, sigma, z, ordered=True)
        return jnp.zeros_like(z), (jnp.zeros(1),)


def test_the_past_is_told_to_be_clean_and_the_chunk_what_the_schedule_says():
    record = []
    model = WorldModel(RecordingDiT(record), None, sampler_steps=3, sampler_shift=2.0)
    jax.block_until_ready(model.rollout({"dit": None}, KEY, jnp.asarray(LATENTS), jnp.asarray(ACTIONS), 2))
    jax.effects_barrier()
    assert [has_memory for has_memory, *_ in record] == 2 * [False, True, True, True]
    past, told = [r for r in record if not r[0]], [r for r in record if r[0]]
    for _, sigma, _ in past:
        np.testing.assert_array_equal(sigma, np.zeros((3, CONTEXT // CHUNK)))
    np.testing.assert_array_equal(past[0][2], LATENTS)
    sigmas = np.asarray(sigma_schedule(3, 2.0))[:-1]
    np.testing.assert_allclose([sigma[0, 0] for _, sigma, _ in told], [*sigmas, *sigmas])
    assert all((sigma == sigma[0, 0]).all() and sigma.shape == (3, 1) for _, sigma, _ in told)
    # A model that answers zero leaves the noise as it is: level 1 means nothing but noise.
    noise = np.asarray(jax.random.normal(KEY, (3, 4, 2, 2, 3)))
    np.testing.assert_array_equal(told[0][2], noise[:, :CHUNK])
    np.testing.assert_array_equal(past[1][2], np.concatenate([LATENTS[:, CHUNK:], noise[:, :CHUNK]], 1))


def test_velocity_of_a_window_takes_raw_actions(params):
    """action[t] and frame t come in together; the shift to latents happens inside."""
    z, sigma = LATENTS, np.full((3, 2), 0.5, np.float32)
    ours = jax.jit(MODEL.velocity)(params["dit"], z, sigma, ACTIONS[:, :CONTEXT])
    led_to = np.concatenate([np.full((3, 1, 1, 2), -1), ACTIONS[:, : CONTEXT - 1, None]], axis=1)
    theirs = jax.jit(DIT.apply)({"params": params["dit"]}, z, sigma, led_to)[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_one_chunk_is_a_rollout_of_one():
    model = WorldModel(RecordingDiT([]), None, sampler_steps=1)
    inputs = {"dit": None}, KEY, jnp.asarray(LATENTS), jnp.asarray(ACTIONS)
    np.testing.assert_array_equal(model.sample_chunk(*inputs), model.rollout(*inputs, 1))
