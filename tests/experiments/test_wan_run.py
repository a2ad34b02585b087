"""configs/minerl_wan.py reduced, four frames a latent: phase 1 from Wan's weights, a cycle of phase 2, a measurement.

Weights are random ones under Wan's names; the environment shows noise, so that nothing is compiled for it.
"""

import copy

import jax
import numpy as np
import pytest

pytest.importorskip("safetensors")

from experiments.configs.minerl_wan import get_config
from experiments.evaluation import evaluate
from experiments.run.command_line import UsageError
from experiments.run.directory import Run
from experiments.stages import build, latent_clips, phase2
from experiments.stages.autoencoder import load_autoencoder, train_autoencoder
from experiments.stages.clip_stores import open_store, split
from experiments.stages.world_model import init_dit, load_world_model, pretrained, train_world_model
from prowl_jax.data.store import StoreWriter
from prowl_jax.envs.base import Step
from prowl_jax.models.autoencoders.wan import WanVAE
from prowl_jax.models.dit.action_adapter import UNKNOWN, actions_of_latents
from prowl_jax.models.published import torch_layout, wan_dit_weights, wan_vae_weights
from prowl_jax.train.mesh import make_mesh
from prowl_jax.train.sharding import DIT_RULES, abstract
from prowl_jax.train.state import init_state, make_optimizer

LENGTHS = (33, 40, 34, 20)  # 33 frames are a clip of 9 latents; the last episode is too short for one


class Noise:
    """A ``HostEnv`` of random frames in which nothing ends."""

    def __init__(self, config, task, num_envs):
        self.spec, self.num_envs, self.frame_shape = build.spec_of(config), num_envs, build.frame_shape(config)
        self.rng = np.random.default_rng(0)

    def reset(self, seeds):
        frames = self.rng.integers(0, 256, (self.num_envs, *self.frame_shape)).astype(np.uint8)
        return Step(frames, np.zeros(self.num_envs, bool), {})

    def step(self, actions):
        self.spec.check(actions)
        return self.reset(None)

    def close(self):
        pass


def random_like(shapes, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: 0.1 * rng.normal(size=x.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The reduced configuration with weights of its own on the disk."""
    folder, config = tmp_path_factory.mktemp("weights"), get_config("reduced")
    config.world_model.update(steps=2, sampler_steps=1)
    config.phase2.update(updates=1, horizon=6, trajectories=2, batch=2, capacity=2, warm_up=1)
    config.adversary.minibatches = 1
    vae = build.make_autoencoder(config)
    params = random_like(jax.eval_shape(vae.init_params, jax.random.key(0)), 0)
    torch_layout.save(folder / "vae.safetensors", torch_layout.to_published(params, wan_vae_weights._RENAMES), {})
    dit = build.make_world_model(config).dit
    wan_dit_weights.export(folder / "transformer", dit, random_like(wan_dit_weights._shapes(dit), 1))
    config.autoencoder.weights = str(folder / "vae.safetensors")
    config.world_model.weights = str(folder / "transformer")
    return config


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """A run up to its world model."""
    run, spec, rng = (
        Run(tmp_path_factory.mktemp("wan") / "run", config),
        build.spec_of(config),
        np.random.default_rng(0),
    )
    with StoreWriter(run.data(config.env.task), spec, build.frame_shape(config)) as writer:
        for length in LENGTHS:
            frames = rng.integers(0, 256, (length, *build.frame_shape(config))).astype(np.uint8)
            writer.add_episode(frames, np.stack([rng.integers(0, n, length) for n in spec.sizes], -1).astype(np.int32))
    build.check_files(config)
    run.figures = {"autoencoder": train_autoencoder(run), "world_model": train_world_model(run)}
    return run


def test_latent_k_of_a_window_sees_the_actions_of_its_own_frames(run, config):
    """By brute force over the frames: 9 latents a clip, windows of 6 at 4 places, none across an episode."""
    store, model, params = open_store(run), build.make_world_model(config), load_autoencoder(run)
    windows = latent_clips.Windows(config, store, [0, 1, 3], 6)
    tiles = [0, 33, 40]  # of episodes 0 and 1; the second has a last clip that ends with it
    assert len(windows.choices) == 4 * len(tiles)
    batch = windows.fetch(windows.choices)
    led_to = np.asarray(actions_of_latents(batch.actions, 4))
    for row, choice in enumerate(windows.choices):
        clip, first = tiles[row // 4], row % 4
        if row % 4 == 0:
            encoded = latent_clips.encode(model, params, store.frames[clip : clip + 33][None])[0]
        np.testing.assert_allclose(windows.fetch(np.array([choice])).latents[0], encoded[first : first + 6], atol=1e-5)
        np.testing.assert_allclose(batch.latents[row], encoded[first : first + 6], atol=1e-5)
        for k in range(6):
            last_shown = clip + 4 * (first + k)  # the last frame of this latent
            expected = store.actions[last_shown - 4 : last_shown] if k else np.full_like(store.actions[:4], UNKNOWN)
            np.testing.assert_array_equal(led_to[row, k], expected)


def test_latents_are_kept_by_the_clip_and_normalised(run, config):
    store = open_store(run)
    latents = store.tile_array("latents", 33)
    assert latents.shape == (5, 9, 4, 6, 4)  # 1 + 2 + 2 + 0 clips
    train, _ = split(run, store)
    own = np.isin(store.tiles(range(4), 33), store.tiles(train, 33))
    np.testing.assert_allclose(latents[own].mean((0, 1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(latents[own].std((0, 1, 2, 3)), 1, atol=1e-3)
    shapes = jax.eval_shape(build.make_autoencoder(config).init_params, jax.random.key(0))
    assert run.figures["autoencoder"]["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert 0 < run.figures["autoencoder"]["psnr_db"] < 20, "of random weights"


def test_phase_1_starts_from_the_checkpoint(run, config):
    dit, optimizer = build.make_world_model(config).dit, make_optimizer(1e-3, 1)
    one_device = make_mesh(devices=jax.devices()[:1])
    placed = abstract(one_device, lambda: init_state(init_dit(config), optimizer), DIT_RULES)
    state = pretrained(config, optimizer)(placed)
    jax.tree.map(np.testing.assert_array_equal, state.params, random_like(wan_dit_weights._shapes(dit), 1))
    jax.tree.map(np.testing.assert_array_equal, state.params, state.ema)
    trained = load_world_model(run)["dit"]
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), trained, state.params)
    assert 0 < max(jax.tree.leaves(moved)) < 0.1  # two steps away, not from scratch


def test_a_cycle_of_phase_2_and_what_is_measured(run, config, monkeypatch):
    policy = build.make_policy(config)
    reference = policy.init(jax.random.key(0), build.frame_shape(config))
    monkeypatch.setattr(phase2.parts, "load_reference", lambda run: reference)
    monkeypatch.setattr(build, "make_env", Noise)
    figures = phase2.run_arm(run, "prowl")
    assert figures["pat_filled"] == 2 and figures["environment_steps"] == 2 * (1 + 33 - 1)
    assert np.isfinite([figures["regret"], figures["afs"], figures["kl_to_reference"]]).all()
    done = phase2.load_arm(run, "prowl")
    params, kept = done.params, jax.tree.map(lambda x: x.shape[1:], done.found.clips)
    assert (kept.latents, kept.actions) == ((9, 4, 6, 4), (33, 9))
    assert (kept.frames, kept.flow) == ((33, 32, 48, 3), (24, 32, 48, 2))

    context, model = build.make_budget(config).context, build.make_world_model(config)
    items = evaluate.clip_set(run, config.env.task, [0, 1], 2, 9, context)
    np.testing.assert_allclose(items.latents, latent_clips.encode(model, params, items.frames), atol=1e-4)
    values, dreamt = evaluate.make_measure(model, context, build.make_flow(config))(params, items, jax.random.key(0))
    assert dreamt.shape == (2, 24, 32, 48, 3) and all(np.isfinite(v).all() for v in values.values())
    swapped = evaluate.exchange_actions(items, model.frames_of(context))
    np.testing.assert_array_equal(swapped.actions[:, :8], items.actions[:, :8])
    np.testing.assert_array_equal(swapped.actions[0, 8:], items.actions[1, 8:])


@pytest.mark.parametrize("arm", ["nft", "grpo"])
def test_a_cycle_of_learning_from_rewards_trains_low_rank_factors(run, config, arm, monkeypatch):
    policy = build.make_policy(config)
    reference = policy.init(jax.random.key(0), build.frame_shape(config))
    monkeypatch.setattr(phase2.parts, "load_reference", lambda run: reference)
    lora, other = copy.copy(run), config.copy_and_resolve_references()
    lora.config = other
    other.phase2.update(trainable="lora", lora_rank=2, horizon=6, learning_rate=1e-2)
    other.world_model.sampler_steps = 2
    for method in (other.nft, other.grpo):
        method.update(branches=2, prefix=0, reward="similarity")
    figures = phase2.run_arm(lora, arm)
    assert np.isfinite(figures["reward"]) and figures["environment_steps"] == 0 < figures["dreamt_latents"]
    before, after = load_world_model(run)["dit"], phase2.load_arm(lora, arm).params["dit"]
    moved = {
        jax.tree_util.keystr(path)
        for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True)
        if not np.array_equal(a, b)
    }
    assert moved and all("attention" in name or "action" in name for name in moved), moved


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"autoencoder.weights": "nowhere"}, "no weights of Wan2.1's autoencoder at nowhere"),
        ({"autoencoder.channels": 16}, "has autoencoder.channels=4, autoencoder.widths=(4, 4, 8, 8) and"),
        ({"world_model.weights": "nowhere"}, "world_model.weights: no weights of Wan2.1's transformer at nowhere"),
        ({"world_model.size": "XXS"}, "world_model.weights do not fit world_model.size=XXS"),
        ({"world_model.size": "Ti"}, "world_model.weights do not fit world_model.size=Ti"),
    ],
)
def test_weights_that_are_not_there_or_do_not_fit_are_one_line(config, changes, words):
    other = config.copy_and_resolve_references()
    for key, value in changes.items():
        group, name = key.split(".")
        other[group][name] = value
    with pytest.raises(UsageError) as error:
        build.check_files(other)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_random_weights_have_no_published_statistics():
    config = get_config("reduced")
    assert config.autoencoder.weights == "random" and build.make_autoencoder(config).latent_mean == (0.0,) * 4
    config.autoencoder.update(channels=16, widths=(96, 192, 384, 384), blocks=2)
    assert not any(build.make_autoencoder(config).latent_mean)
    config.autoencoder.weights, config.dry_run = "of Wan", True
    assert build.make_autoencoder(config) == WanVAE()
