"""The convolutional world model behind every world model's interface: levels, time, caches, what phase 2 trains."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
from flax import traverse_util

from prowl_jax.diffusion.autoregressive import FrameLevels
from prowl_jax.models.autoencoders.pixels import Pixels
from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.models.unet import world_model
from prowl_jax.models.unet.unet import ACTION_CONDITIONING, Guess, UNet, frequencies
from prowl_jax.models.unet.world_model import UNetWorldModel
from prowl_jax.train.state import merge
from prowl_jax.train.world_model import split_trainable
from prowl_jax.types import Batch

SIZES = (3, 5)
NETWORK = UNet(SIZES, widths=(8, 12), blocks=(1, 1), motion_widths=(8,), motion_blocks=(1,), width=16)
MODEL = UNetWorldModel(NETWORK, sampler_levels=(1.0, 0.3, 0.0))
PLAIN = dataclasses.replace(MODEL, dit=NETWORK.clone(motion=False))
PREDICTING = dataclasses.replace(MODEL, dit=NETWORK.clone(predict_residual=True))
rng = np.random.default_rng(0)
FRAMES = rng.integers(0, 256, (3, 6, 16, 16, 3)).astype(np.uint8)
ACTIONS = np.stack([rng.integers(0, size, (3, 12)) for size in SIZES], axis=-1).astype(np.int32)
KEY = jax.random.key(3)
SIGMA = np.float32([0.3, 0.5, 1.0])


SMALL = Autoencoder(channels=5, widths=(8, 8), blocks=1, downsampling=4)
OVER_LATENTS = UNetWorldModel(
    NETWORK.clone(motion=False, latent_channels=5), SMALL, sampler_levels=MODEL.sampler_levels
)


def test_over_an_autoencoder_s_latents_it_dreams_in_them(random_params):
    params = random_params(OVER_LATENTS.init, (16, 16, 3)) | {"latent_mean": np.zeros(5), "latent_std": np.ones(5)}
    latents = OVER_LATENTS.encode(params, FRAMES)
    assert latents.shape == (3, 6, 4, 4, 5)
    dreamt = jax.jit(OVER_LATENTS.rollout, static_argnums=4)(params, KEY, latents, ACTIONS, 3)
    assert dreamt.shape == (3, 3, 4, 4, 5) and OVER_LATENTS.decode(params, dreamt).shape == (3, 3, 16, 16, 3)
    loss, _ = OVER_LATENTS.loss(FrameLevels())(params["dit"], Batch(latents, ACTIONS[:, :6]), KEY)
    assert np.isfinite(loss)
    with pytest.raises(ValueError, match="motion moves pixels"):
        UNetWorldModel(NETWORK.clone(latent_channels=5), SMALL).init(KEY, (16, 16, 3))
    with pytest.raises(ValueError, match="latents have 5 channels, the network is for 48"):
        UNetWorldModel(NETWORK, SMALL)


@pytest.fixture(scope="module", params=[MODEL, PLAIN], ids=["motion", "plain"])
def model(request):
    return request.param


@pytest.fixture(scope="module")
def params(model, random_params):
    return random_params(model.init, (16, 16, 3)) | {
        name: np.array(getattr(model.autoencoder, name), np.float32) for name in ("latent_mean", "latent_std")
    }


def test_nothing_is_lost_between_frames_and_latents(model, params):
    latents = model.encode(params, FRAMES)
    assert latents.shape == (3, 6, 4, 4, 48)
    np.testing.assert_array_equal(np.round(np.asarray(model.decode(params, latents)) * 255), FRAMES)
    np.testing.assert_allclose(model.from_kept(FRAMES), latents, atol=1e-6)
    np.testing.assert_allclose(model.shown(latents), latents, atol=1e-6)


def test_the_velocity_of_a_window_is_that_of_each_frame_given_the_ones_before(model, params):
    latents, sigma = np.asarray(model.encode(params, FRAMES)), rng.uniform(0.1, 1.0, (3, 6)).astype(np.float32)
    velocity = jax.jit(model.velocity)(params["dit"], latents, sigma, ACTIONS[:, :6])
    assert velocity.shape == latents.shape
    for t in (2, 5):
        xhat, _ = model.dit.apply(
            {"params": params["dit"]}, latents[:, t], sigma[:, t], latents[:, t - 2 : t], sigma[:, t - 2 : t],
            ACTIONS[:, t - 2 : t],
        )  # fmt: skip
        expected = (latents[:, t] - xhat) / sigma[:, t, None, None, None]
        np.testing.assert_allclose(velocity[:, t], expected, rtol=2e-4, atol=2e-4)


def test_nothing_leaks_from_the_future(model, params):
    latents, sigma = np.asarray(model.encode(params, FRAMES)), np.full((3, 6), 0.5, np.float32)
    velocity = jax.jit(model.velocity)
    before = velocity(params["dit"], latents, sigma, ACTIONS[:, :6])
    later, actions = latents.copy(), ACTIONS[:, :6].copy()
    later[:, 4:] += 1.0
    actions[:, 4:] = 0  # what is done on frame 4 leads to frame 5
    after = velocity(params["dit"], later, sigma, actions)
    np.testing.assert_allclose(after[:, :4], before[:, :4], atol=1e-5)
    assert np.abs(after[:, 4:] - before[:, 4:]).max() > 1e-2


def test_every_frame_of_the_context_and_every_action_matters(model, params):
    latents = np.asarray(model.encode(params, FRAMES))[:, :3]
    dream = jax.jit(model.rollout, static_argnums=4)
    base = dream(params, KEY, latents, ACTIONS, 3)
    for t in (1, 2):
        changed = latents.copy()
        changed[:, t] += 0.5
        assert np.abs(dream(params, KEY, changed, ACTIONS, 3)[:, 0] - base[:, 0]).max() > 1e-3
    oldest = latents.copy()
    oldest[:, 0] += 0.5  # before the last n
    np.testing.assert_array_equal(dream(params, KEY, oldest, ACTIONS, 3), base)
    actions = ACTIONS.copy()
    actions[:, 3] = (actions[:, 3] + 1) % np.array(SIZES)  # leads from frame 3 to frame 4, the second that is dreamt
    moved = dream(params, KEY, latents, actions, 3)
    np.testing.assert_array_equal(moved[:, 0], base[:, 0])
    assert np.abs(moved[:, 1] - base[:, 1]).max() > 1e-3


def test_a_dream_frame_by_frame_is_the_rollout(model, params):
    latents = model.encode(params, FRAMES)[:, :3]
    noise = jnp.moveaxis(jax.random.normal(KEY, (4, 3, *latents.shape[2:])), 0, 1)
    cache, frames = model.prefill(params, latents, ACTIONS), []
    step = jax.jit(model.next_chunk)
    for t in range(4):
        frame, cache = step(params, noise[:, t : t + 1], cache, ACTIONS[:, 2 + t : 3 + t])
        frames.append(frame)
    whole = jax.jit(model.rollout, static_argnums=4)(params, KEY, latents, ACTIONS, 4)
    np.testing.assert_allclose(jnp.concatenate(frames, 1), whole, atol=1e-4)


def test_own_frames_of_the_sampler_are_those_of_a_dream(model, params, monkeypatch):
    given, latents = {}, model.encode(params, FRAMES)
    monkeypatch.setattr(world_model, "autoregressive_loss", lambda *_, **named: given.update(named))
    batch = Batch(latents, ACTIONS[:, :6])
    model.loss(FrameLevels(), by_sampler=True)(params["dit"], batch, KEY)
    cache = model.prefill(params, latents[:, :2], ACTIONS)
    noise = jax.random.normal(KEY, latents[:, :1].shape[:1] + latents.shape[2:])
    expected, _ = model.next_chunk(params, noise[:, None], cache, ACTIONS[:, 1:2])
    followed = given["follow"](latents[:, :2], ACTIONS[:, :2], KEY)
    np.testing.assert_allclose(followed, expected[:, 0], atol=1e-5)
    model.loss(FrameLevels())(params["dit"], batch, KEY)
    assert given["follow"] is None


def test_one_evaluation_is_the_denoised_frame_of_pure_noise(model, params):
    one = dataclasses.replace(model, sampler_levels=(1.0, 0.0))
    latents = model.encode(params, FRAMES)[:, :2]
    noise = jax.random.normal(KEY, (3, 1, *latents.shape[2:]))
    frame, _ = one.next_chunk(params, noise, one.prefill(params, latents, ACTIONS), ACTIONS[:, 1:2])
    xhat, _ = model.dit.apply(
        {"params": params["dit"]}, noise[:, 0], jnp.ones(3), latents, jnp.zeros((3, 2)), ACTIONS[:, :2]
    )
    np.testing.assert_allclose(frame[:, 0], model.shown(xhat), atol=1e-4)


def test_noise_on_the_context_of_level_zero_is_none(model, params):
    latents = model.encode(params, FRAMES)[:, :2]
    models = [dataclasses.replace(model, context_noise=level) for level in (0.0, 0.3)]
    dream = [one.rollout(params, KEY, latents, ACTIONS, 1) for one in models]
    np.testing.assert_array_equal(dream[0], model.rollout(params, KEY, latents, ACTIONS, 1))
    assert np.abs(dream[1] - dream[0]).max() > 1e-3


def test_common_noise_makes_rows_alike(model, params):
    latents = jnp.repeat(model.encode(params, FRAMES)[:1, :2], 3, 0)
    actions = np.repeat(ACTIONS[:1], 3, 0)
    dream = model.rollout(params, KEY, latents, actions, 2, True)
    np.testing.assert_allclose(dream[1:], np.repeat(dream[:1], 2, 0), atol=1e-5)


def test_the_loss_falls_and_phase_2_trains_a_fifth(model, params):
    trained, rest = split_trainable(model, params["dit"])
    flat = traverse_util.flatten_dict(trained)
    assert flat and all(set(path) & set(ACTION_CONDITIONING) for path in flat)
    assert not any(set(path) & set(ACTION_CONDITIONING) for path in traverse_util.flatten_dict(rest))
    latents = model.encode(params, FRAMES)
    loss = jax.jit(jax.value_and_grad(model.loss(FrameLevels()), has_aux=True))
    now = params["dit"]
    (first, metrics), _ = loss(now, Batch(latents, ACTIONS[:, :6]), KEY)
    for _ in range(30):
        (last, _), gradient = loss(now, Batch(latents, ACTIONS[:, :6]), KEY)
        size = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient)))
        now = jax.tree.map(lambda p, g, s=size: p - 0.05 * g / s, now, gradient)
    assert last < 0.9 * first
    assert np.isfinite(list(metrics.values())).all()


def test_the_shipped_size_trains_15_to_25_per_cent():
    network = UNet((3, 3, 2, 2, 2, 2, 2, 11, 11))
    shapes = jax.eval_shape(lambda: UNetWorldModel(network).init(KEY, (64, 64, 3)))["dit"]
    flat = traverse_util.flatten_dict(shapes)
    share = sum(x.size for path, x in flat.items() if set(path) & set(ACTION_CONDITIONING))
    assert 0.15 <= share / sum(x.size for x in flat.values()) <= 0.25


@pytest.mark.parametrize("sigma", [0.05, 0.4, 1.0])
def test_the_network_s_target_has_deviation_one_and_its_error_counts_one(sigma):
    """x0 = xhat for the F of the paper's form: with m known, F = (s r/r^2 (x0 - m) - (1 - s) r eps) / sqrt(D)."""
    r, n = NETWORK.residual, 200_000
    residual, noise = r * rng.normal(size=n), rng.normal(size=n)
    total = ((1 - sigma) * r) ** 2 + sigma**2
    target = (sigma / r * residual - (1 - sigma) * r * noise) / np.sqrt(total)
    assert target.std() == pytest.approx(1.0, abs=0.01)
    apart = (1 - sigma) * residual + sigma * noise
    xhat = (1 - sigma) * r**2 / total * apart + sigma * r / np.sqrt(total) * target
    np.testing.assert_allclose(xhat, residual, atol=1e-9)
    off = sigma * r / np.sqrt(total) * 0.1  # what an error of .1 in F makes of xhat
    answer = jnp.full((1, 1, 1, 48), off)
    assert NETWORK.error(answer, jnp.zeros_like(answer), jnp.full(1, sigma), Guess(answer, r)).item() == pytest.approx(
        0.01, rel=1e-4
    )


@pytest.fixture(scope="module")
def predicted(random_params):
    return random_params(PREDICTING.init, (16, 16, 3)) | {
        name: np.array(getattr(PREDICTING.autoencoder, name), np.float32) for name in ("latent_mean", "latent_std")
    }


def test_the_frequencies_of_a_block_are_an_orthonormal_basis_from_coarse_to_fine():
    basis = frequencies(4)
    np.testing.assert_allclose(basis @ basis.T, np.eye(48), atol=1e-6)
    np.testing.assert_allclose(basis[0], 1 / np.sqrt(48), atol=1e-6)  # the mean
    picture = rng.normal(size=(4, 4, 3))
    expected = scipy.fft.dctn(picture @ np.array([1, 1, 1]) / np.sqrt(3), norm="ortho")  # of the brightness
    np.testing.assert_allclose((basis @ picture.ravel()).reshape(4, 4, 3)[..., 0], expected, atol=1e-5)
    blue = rng.normal(size=(4, 4, 1)) * np.array([1, 0, -1])
    found = (basis @ blue.ravel()).reshape(4, 4, 3)
    assert np.abs(found[..., 1]).max() > 0.1 and np.abs(found[..., [0, 2]]).max() < 1e-5


def test_nobody_is_less_surprised_than_who_knows_the_deviation():
    """Of white noise it is the same in every orthonormal basis."""
    guess = Guess(jnp.ones((1, 20, 20, 48)), 1.0)
    real = guess.frame + 0.1 * jax.random.normal(KEY, guess.frame.shape)
    tried = 0.1 * np.exp(np.linspace(-1, 1, 41))
    surprises = [PREDICTING.dit.surprise(guess._replace(deviation=r), real).item() for r in tried]
    assert tried[np.argmin(surprises)] == pytest.approx(0.1, rel=0.06)


def test_noise_is_taken_off_where_little_is_missed(predicted):
    """Whatever the network says; here of the fine half of all frequencies, and nowhere else."""
    frame = jax.random.normal(KEY, (3, 4, 4, 48))
    known = Guess(frame, jnp.ones_like(frame).at[..., 24:].set(1e-3))
    context, level = jnp.zeros((3, 2, 4, 4, 48)), jnp.full(3, 0.3)
    xhat = PREDICTING.dit.apply(
        {"params": predicted["dit"]}, jax.random.normal(jax.random.key(9), frame.shape), level, known, context,
        jnp.zeros((3, 2)), ACTIONS[:, :2], method="denoise",
    )  # fmt: skip
    off = np.abs((xhat - frame) @ frequencies(4).T)
    assert off[..., 24:].max() < 0.02 and off[..., :24].mean() > 0.2


def test_an_answer_costs_what_it_is_off_in_deviations_of_the_frequencies(predicted):
    """An error of F of one frequency alone: 1 in a value of 48, whatever r is there and whatever the level."""
    r = np.exp(rng.normal(size=(1, 2, 2, 48))).astype(np.float32)
    for s in (0.1, 1.0):
        off = np.zeros((1, 2, 2, 48), np.float32)
        off[..., 7] = (s * r / np.sqrt(((1 - s) * r) ** 2 + s**2))[..., 7]
        real = jnp.asarray(rng.normal(size=off.shape), jnp.float32)
        answer = real + off @ frequencies(4)
        cost = PREDICTING.dit.error(answer, real, jnp.full(1, s), Guess(real, jnp.asarray(r)))
        assert cost.item() == pytest.approx(1 / 48, rel=1e-3)


def test_the_deviation_learns_from_what_the_motion_misses_alone(predicted, monkeypatch):
    batch = Batch(PREDICTING.encode(predicted, FRAMES[:, :4]), jnp.asarray(ACTIONS[:, :4]))

    def gradient():
        loss = PREDICTING.loss(FrameLevels(), by_sampler=True)
        return jax.jit(jax.grad(lambda p: loss(p, batch, KEY)[0]))(predicted["dit"])

    assert np.abs(gradient()["deviation_out"]["kernel"]).max() > 0
    monkeypatch.setattr(world_model, "LIKELIHOOD", 0.0)
    silent = gradient()
    assert np.abs(silent["deviation_out"]["kernel"]).max() == 0 and np.abs(silent["flow_out"]["kernel"]).max() > 0
    with pytest.raises(ValueError, match="without motion set it to False"):
        UNetWorldModel(PREDICTING.dit.clone(motion=False)).init(KEY, (16, 16, 3))


def test_levels_that_do_not_fall_and_blocks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="fall from 1 to 0"):
        UNetWorldModel(NETWORK, sampler_levels=(1.0, 0.5, 0.5, 0.0))
    with pytest.raises(ValueError, match="latents have 192 channels, the network is for 48"):
        UNetWorldModel(NETWORK, Pixels(8))


@pytest.mark.parametrize("model", [MODEL, PLAIN, PREDICTING], ids=["motion", "plain", "predicting"])
def test_who_learns_from_a_velocity_trains_all_of_the_action_conditioning(model, random_params):
    """NFT and GRPO have no other loss: what it does not reach they cannot mend."""
    params = random_params(model.init, (16, 16, 3))["dit"]
    trained, frozen = split_trainable(model, params)
    latents = rng.normal(size=(3, 3, 4, 4, 48)).astype(np.float32)

    def loss(trained):
        network = merge(trained, frozen)
        return jnp.sum(jnp.square(model.chunk_velocity(network, latents[:, :2], latents[:, 2:], SIGMA, ACTIONS)))

    found = traverse_util.flatten_dict(jax.jit(jax.grad(loss))(trained))
    dead = ["/".join(path) for path, leaf in found.items() if not np.any(leaf)]
    assert not dead and any("motion_actions" in path for path in found) == model.dit.motion
