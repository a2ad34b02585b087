"""The environment that a configuration names is the one that is made."""

import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs.quickstart import get_config
from experiments.run.command_line import UsageError
from experiments.stages import build
from experiments.stages.pipeline import run_all
from prowl_jax import minecraft
from prowl_jax.models.policies.vpt_policy import VPTNetwork, VPTPolicy
from prowl_jax.models.published import vpt_weights

STUB = pathlib.Path(__file__).parents[2] / "envs" / "minerl_stub.py"


@pytest.fixture
def config():
    config = get_config("tiny")
    config.env.update(name="minerl", task="Stub-v0", held_out_tasks=())
    config.env.minerl.update(python=sys.executable, make=f"{STUB}:make", episode_steps=2)
    return config


def test_minecraft_is_made_as_configured(config):
    assert build.spec_of(config) == minecraft.SPEC
    env = build.make_env(config, config.env.task, 1)
    try:
        assert env.spec == minecraft.SPEC and env.num_envs == 1
        assert env.reset([1]).frames.shape == (1, *build.frame_shape(config))
        null = np.tile(env.spec.null, (1, 1))
        assert [bool(env.step(null).done[0]) for _ in range(4)] == [False, True, False, True]
    finally:
        env.close()


def test_the_world_models_products_are_as_configured(config):
    config.world_model.update(dtype="bfloat16", remat=True, attention="xla")
    dit = build.make_world_model(config).dit
    assert (dit.dtype, dit.remat, dit.attention) == (jnp.bfloat16, True, "xla")


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="a GPU is there")
def test_cudnn_without_a_gpu_is_told_before_anything_is_written(config, tmp_path):
    config.world_model.update(attention="cudnn", dtype="bfloat16")
    with pytest.raises(UsageError, match="world_model.attention=cudnn wants a GPU"):
        run_all(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["demonstrations.source", "evaluation.action_prior", "reference.weights"])
def test_what_is_not_there_is_told_before_anything_is_written(config, tmp_path, key):
    group, name = key.split(".")
    config[group][name] = str(tmp_path / "foundation-model-1x.safetensors")
    with pytest.raises(UsageError) as told:
        run_all(config, tmp_path / "run")
    words = "no VPT weights at .*: download .*, then run " if group == "reference" else f"{key}=.* is not there"
    assert re.match(words, str(told.value)) and "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_only_a_live_environment_has_arms(config):
    assert build.arms(config) == ("frozen_reference", "prowl")
    config.env.name = "recordings"
    assert build.arms(config) == ()


def test_a_vpt_policy_speaks_the_environments_language(config, tmp_path):
    network = VPTNetwork((4, 4, 4), hidden=8, heads=2, blocks=1, kept=2, image=16)
    params = VPTPolicy(network).init(jax.random.key(0), (16, 16, 3))
    path = tmp_path / "tiny.safetensors"
    vpt_weights.save(path, vpt_weights.to_published(params), network.temperature)
    config.reference.weights = str(path)
    policy = build.make_policy(config)
    assert policy.sizes == minecraft.VPT_SPEC.sizes and policy.network == network
    jax.tree.map(np.testing.assert_array_equal, build.vpt_params(config), jax.tree.map(np.asarray, params))
    to_env, from_env = build.action_maps(config)
    drawn = np.random.default_rng(0).integers(0, minecraft.VPT_SPEC.sizes, (50, 2), dtype=np.int32)
    factors = minecraft.SPEC.check(to_env(drawn))
    np.testing.assert_array_equal(minecraft.SPEC.check(to_env(from_env(factors))), to_env(from_env(to_env(drawn))))
