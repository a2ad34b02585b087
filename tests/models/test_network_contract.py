"""What every world model's network keeps to behind the one interface: time, levels, caches, what phase 2 trains."""

import dataclasses
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from prowl_jax.diffusion.autoregressive import FrameLevels
from prowl_jax.diffusion.flow import sigma_schedule
from prowl_jax.diffusion.forcing import Forcing, sample_levels
from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.dit.sizes import dit_size
from prowl_jax.models.unet.unet import UNet
from prowl_jax.models.unet.world_model import UNetWorldModel
from prowl_jax.models.world_model import WorldModel
from prowl_jax.train.lora import split_low_rank
from prowl_jax.train.state import count, merge
from prowl_jax.train.world_model import make_loss, split_trainable
from prowl_jax.types import Batch

SIZES, FRAME, LENGTH = (3, 5), (16, 16, 3), 6
rng = np.random.default_rng(0)
ACTIONS = np.stack([rng.integers(0, size, (2, 12)) for size in SIZES], axis=-1).astype(np.int32)
KEY = jax.random.key(3)


DIT = WorldModel(
    DiT(channels=3, width=24, depth=2, heads=2, ffn=32, action_sizes=SIZES, chunk=1, frequency_width=16),
    Autoencoder(channels=3, widths=(8, 8), blocks=1),
    sampler_steps=2,
    sampler_shift=5.0,
)
UNET = UNetWorldModel(UNet(SIZES, widths=(8, 12), blocks=(1, 1), motion_widths=(8,), motion_blocks=(1,), width=16))
FORCING, LEVELS = Forcing(chunk=1, clean_prefix=1.0, shift=10.0), FrameLevels()
MINECRAFT_LIKE = (3, 3, 2, 2, 2, 2, 2, 11, 11)


@dataclasses.dataclass(frozen=True)
class Case:
    """A world model behind the interface.

    Attributes:
      small, whole: as small as it goes, and as the configurations have it. loss: as ``make_loss``'s.
      cached: dreams with a cache; ``uncached(params, latents)`` dreams the same without one.
      drawn: ``f(key, rows) -> (levels of frames, levels of their contexts)`` of training.
      told: the levels that a sampler tells, but for the last, 0.
    """

    small: object
    whole: object
    loss: Callable
    cached: object
    uncached: Callable
    drawn: Callable
    told: tuple


def forced_levels(key, rows):
    """Of the predicted chunks of three, and of the chunk before each."""
    sigma, weight = map(np.asarray, sample_levels(key, rows, 3, FORCING))
    predicted = weight[:, 1:] > 0
    return sigma[:, 1:][predicted], sigma[:, :-1][predicted]


def frame_levels(key, rows):
    return tuple(np.asarray(draw(key, rows)) for draw in (LEVELS.frame, LEVELS.context))


CASES = {
    "dit": Case(
        DIT,
        WorldModel(
            DiT(channels=8, action_sizes=MINECRAFT_LIKE, chunk=1, action_modulation=True, **dit_size("Ti")),
            Autoencoder(channels=8),
        ),
        make_loss(DIT, FORCING),
        dataclasses.replace(DIT, cache="rolling", cache_latents=2),
        lambda params, latents: rolled_out_without_a_cache(params, latents),
        forced_levels,
        tuple(np.asarray(sigma_schedule(2, 5.0))[:-1]),
    ),
    "unet": Case(
        UNET,
        UNetWorldModel(UNet(MINECRAFT_LIKE)),
        UNET.loss(LEVELS),
        UNET,
        lambda params, latents: rolled_out_by_velocity(params, latents),
        frame_levels,
        UNET.sampler_levels[:-1],
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture(scope="module")
def params(case, random_params):
    params = random_params(case.small.init, FRAME, LENGTH)
    deviation = np.full(case.small.autoencoder.channels, 0.5, np.float32)
    return params | {"latent_mean": 0 * deviation, "latent_std": deviation}


@pytest.fixture(scope="module")
def latents(case):
    shape = (2, LENGTH, *case.small.latent_shape(FRAME))
    drawn = np.clip(np.random.default_rng(1).normal(size=shape), -2, 2).astype(np.float32)
    shown = getattr(case.small, "shown", None)
    return np.asarray(shown(drawn)) if shown else drawn


def velocity_of(case, params, z, sigma, actions=ACTIONS):
    return np.asarray(jax.jit(case.small.velocity)(params["dit"], z, sigma, actions[:, :LENGTH]))


def test_a_velocity_is_as_large_as_what_it_moves(case, params, latents):
    sigma = rng.uniform(0.1, 1.0, (2, LENGTH)).astype(np.float32)
    velocity = velocity_of(case, params, latents, sigma)
    assert velocity.shape == latents.shape and velocity.dtype == np.float32 and np.isfinite(velocity).all()
    assert (np.abs(velocity).max((2, 3, 4)) > 0).all()


def test_nothing_leaks_from_the_future(case, params, latents):
    sigma = np.full((2, LENGTH), 0.5, np.float32)
    before = velocity_of(case, params, latents, sigma)
    later, actions, levels = latents.copy(), ACTIONS.copy(), sigma.copy()
    later[:, 4:] += 1.0
    levels[:, 5:] = 0.9
    actions[:, 4:] = (actions[:, 4:] + 1) % 3  # what is done on frame 4 leads to frame 5
    after = velocity_of(case, params, later, levels, actions)
    np.testing.assert_allclose(after[:, :4], before[:, :4], atol=1e-5)
    assert (np.abs(after[:, 4:] - before[:, 4:]).max((0, 2, 3, 4)) > 1e-2).all()


def test_the_action_that_leads_to_a_frame_reaches_it(case, params, latents):
    sigma, actions = np.full((2, LENGTH), 0.5, np.float32), ACTIONS.copy()
    actions[:, 3] = (actions[:, 3] + 1) % 3
    change = np.abs(velocity_of(case, params, latents, sigma, actions) - velocity_of(case, params, latents, sigma))
    assert (change[:, :4] < 1e-6).all() and (change[:, 4].max((1, 2, 3)) > 1e-4).all()


dream = jax.jit(
    lambda model, params, latents, actions: model.rollout(params, KEY, latents[:, :2], actions, 2), static_argnums=0
)


def test_a_cached_dream_is_the_uncached_one(case, params, latents):
    ours = np.asarray(dream(case.cached, params, latents, ACTIONS))
    assert ours.shape == latents[:, :2].shape
    np.testing.assert_allclose(ours, case.uncached(params, latents), atol=5e-4)


def rolled_out_without_a_cache(params, latents):
    """The DiT over all latents since the start, at every step."""
    return dream(dataclasses.replace(DIT, cache="none", cache_latents=2), params, latents, ACTIONS)


def rolled_out_by_velocity(params, latents):
    """The unet asked for the velocity of a whole window at every step."""
    velocity, noise = jax.jit(UNET.velocity), jax.random.normal(KEY, (2, 2, *latents.shape[2:]))
    everything = latents[:, :2]
    for t, z in enumerate(noise):
        for now, after in itertools.pairwise(UNET.sampler_levels):
            window = np.concatenate([everything[:, -2:], z[:, None]], axis=1)
            sigma = np.tile(np.array([0, 0, now], np.float32), (2, 1))
            z = z + (after - now) * velocity(params["dit"], window, sigma, ACTIONS[:, t : t + 3])[:, -1]
        everything = np.concatenate([everything, UNET.shown(z)[:, None]], axis=1)
    return everything[:, 2:]


def test_a_context_told_to_be_clean_is_read_as_it_is(case, params, latents):
    """Level 0 of the frames before: what a dream begins from. Noise of any other level is told, and is another past."""
    sigma = np.full((2, LENGTH), 0.0, np.float32)
    sigma[:, -1] = 0.7
    clean = velocity_of(case, params, latents, sigma)[:, -1]
    noised = np.random.default_rng(2).normal(size=latents.shape).astype(np.float32)
    for level in (0.0, 0.3):
        past, told = latents.copy(), sigma.copy()
        past[:, :-1] = (1 - level) * latents[:, :-1] + level * noised[:, :-1]
        told[:, :-1] = level
        change = np.abs(velocity_of(case, params, past, told)[:, -1] - clean).max()
        assert change == 0.0 if level == 0.0 else change > 1e-3
    if hasattr(case.small, "context_noise"):
        quiet, loud = (dataclasses.replace(case.small, context_noise=level) for level in (0.0, 0.3))
        ours = np.asarray(dream(case.small, params, latents, ACTIONS))
        np.testing.assert_array_equal(ours, dream(quiet, params, latents, ACTIONS))
        assert np.abs(ours - dream(loud, params, latents, ACTIONS)).max() > 1e-3


def test_what_a_sampler_tells_the_network_it_has_been_trained_on(case):
    """Every level of the frame that is asked for, pure noise among them, is drawn often, and so is a clean context."""
    frame, context = case.drawn(jax.random.key(0), 100_000)
    told = case.told
    assert told[0] == 1.0
    for level in told:
        assert np.mean(np.abs(frame - level) < 0.03) > 0.005, level
    assert np.mean(context == 0.0) > 0.2 and frame.max() <= 1.0 and (frame > 0).all()


def test_what_phase_2_trains_is_what_the_actions_go_through_and_the_loss_reaches_it(case, params, latents):
    trained, rest = split_trainable(case.small, params["dit"])
    names = set(case.small.action_conditioning)
    assert all(set(path) & names for path in traverse_util.flatten_dict(trained))
    assert not any(set(path) & names for path in traverse_util.flatten_dict(rest))
    loss, batch = jax.jit(jax.value_and_grad(case.loss, has_aux=True)), Batch(latents, ACTIONS[:, :LENGTH])
    (value, metrics), gradient = loss(params["dit"], batch, KEY)
    assert np.isfinite([value, *metrics.values()]).all()
    reached, _ = split_trainable(case.small, gradient)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(reached))


def test_at_the_size_of_the_configurations_phase_2_trains_15_to_25_per_cent(case):
    shapes = jax.eval_shape(lambda: case.whole.init(KEY, (64, 64, 3), 3))["dit"]
    trained, _ = split_trainable(case.whole, shapes)
    assert 0.15 <= count(trained) / count(shapes) <= 0.25


def test_lora_adds_to_what_the_network_names_and_trains_beside_it_what_reads_actions(case):
    """Every matrix of its trunk, a third of all parameters or fewer, and at first nothing of what it says changes."""
    shapes = jax.eval_shape(lambda: case.whole.init(KEY, (64, 64, 3), 3))["dit"]
    components, whole = case.whole.low_rank
    trained, frozen = jax.eval_shape(lambda: split_low_rank(zeros_of(shapes), KEY, 8, components, whole))
    again = jax.eval_shape(merge, trained, frozen)
    assert jax.tree.map(lambda x: x.shape, again) == jax.tree.map(lambda x: x.shape, shapes)
    flat = traverse_util.flatten_dict(trained)
    assert {path[0] for path in flat if path[-1] not in ("lora_in", "lora_out")} == set(whole)
    matrices = [p for p in traverse_util.flatten_dict(frozen) if p[-1] == "kernel" and set(p) & set(components)]
    assert len(matrices) == sum(path[-1] == "lora_in" for path in flat) > 0
    assert 0.05 <= count(trained) / count(shapes) <= 0.34


def zeros_of(shapes):
    """A tree of zeros."""
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
