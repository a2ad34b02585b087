"""What is saved comes back as it was, and what does not fit is refused by name."""

import os
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prowl_jax.pat import buffer as pat
from prowl_jax.train.checkpoint import Checkpoints
from prowl_jax.train.state import init_state


def some_state(seed=0):
    """All that a run keeps: dataclasses, tuples, named tuples, many types, an empty branch."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1))
    item = {"frames": jnp.zeros((2, 2), jnp.uint8), "flow": jnp.zeros(3, jnp.float16)}
    tree = {
        "theta": init_state({"dit": {"kernel": jnp.zeros((2, 3))}}, optimizer),
        "buffer": pat.init(item, 4),
        "more": (jnp.zeros(3, jnp.bfloat16), [jnp.bool_(True), jnp.int8(-4)], {}, None),
        # More than ten names that sort otherwise than by number, so that order shows.
        "many": {f"layer_{i}": jnp.zeros(1) for i in range(12)},
    }
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.integers(0, 100, x.shape).astype(x.dtype)), tree)


def assert_same(restored, saved):
    assert jax.tree.structure(restored) == jax.tree.structure(saved)
    for (path, ours), theirs in zip(
        jax.tree_util.tree_leaves_with_path(restored), jax.tree.leaves(saved), strict=True
    ):
        name = jax.tree_util.keystr(path)
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape, name
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs), err_msg=name)


def save(directory, step, state, meta=None):
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(step, state, meta)


@pytest.mark.parametrize("only_shapes", [False, True])
def test_any_pytree_comes_back_as_it_was(tmp_path, only_shapes):
    state = some_state()
    save(tmp_path, 7, state, {"note": "x", "speed": 1.5})
    example = some_state(seed=1)
    if only_shapes:
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        example = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), example)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 7
        restored, meta = checkpoints.restore(example)
    assert_same(restored, state)
    assert meta == {"note": "x", "speed": 1.5}


def test_the_latest_are_kept_and_any_of_them_can_be_chosen(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, {"w": jnp.full(2, step)})
    example = {"w": jnp.zeros(2, int)}
    with Checkpoints(tmp_path) as checkpoints:
        assert int(checkpoints.restore(example)[0]["w"][0]) == 3
        assert int(checkpoints.restore(example, step=2)[0]["w"][0]) == 2
    assert not (tmp_path / "1").exists()


def test_a_step_is_saved_once(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, {"w": jnp.zeros(2)})
        with pytest.raises(ValueError, match="holds step 5 already"):
            checkpoints.save(5, {"w": jnp.ones(2)})
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match="holds step 5 already"):
            checkpoints.save(5, {"w": jnp.ones(2)})
        assert not checkpoints.restore({"w": jnp.ones(2)})[0]["w"].any()


def test_an_empty_directory_has_no_checkpoint(tmp_path):
    with Checkpoints(tmp_path / "new") as checkpoints:
        assert checkpoints.latest() is None
        with pytest.raises(FileNotFoundError, match="no checkpoint under"):
            checkpoints.restore({"w": jnp.zeros(2)})


SAVED = {"a": {"w": jnp.zeros(2)}, "b": jnp.zeros(1)}


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"a": {"w": jnp.zeros(3)}},
            "['a']['w'] is float32[2] in the checkpoint and float32[3] in the model",
        ),
        (
            {"a": {"w": jnp.zeros(2, jnp.bfloat16)}},
            "float32[2] in the checkpoint and bfloat16[2] in the model",
        ),
        ({"a": {"w": jnp.zeros(2, int)}}, "float32[2] in the checkpoint and int32[2] in the model"),
        ({"a": {"v": jnp.zeros(2)}}, "['a']['v'] is only in the model"),
        ({"b": None}, "['b'] is only in the checkpoint"),
        ({"c": jnp.zeros(1)}, "['c'] is only in the model"),
    ],
)
def test_another_model_is_refused_by_name(tmp_path, changes, message):
    save(tmp_path, 1, SAVED)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(ValueError, match=re.escape(message)) as error:
        checkpoints.restore(SAVED | changes)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_a_state_may_be_donated_as_soon_as_save_returns(tmp_path):
    """Writing goes on in the background while the next step overwrites the arrays."""
    overwrite = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 - 1, s), donate_argnums=0)
    state = {"w": jnp.arange(2_000_000.0)}
    overwrite({"w": jnp.zeros(2_000_000)})  # compiled before, so that it comes at once
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        state = jax.block_until_ready(overwrite(state))
        assert float(state["w"][1]) == -1.0
    with Checkpoints(tmp_path) as checkpoints:
        restored, _ = checkpoints.restore(state)
    np.testing.assert_array_equal(restored["w"], np.arange(2_000_000.0))


@pytest.mark.parametrize("moment", ["2", "state"])
def test_an_interrupted_save_leaves_the_one_before(tmp_path, monkeypatch, moment):
    """A checkpoint is written under another name and renamed last; here that never comes."""
    save(tmp_path, 1, {"w": jnp.zeros(2)})
    rename = os.rename

    def interrupted(source, target, **kwargs):
        if pathlib.Path(target).name == moment:
            raise OSError("pulled the plug")
        rename(source, target, **kwargs)

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(Exception, match="pulled the plug"):
        save(tmp_path, 2, {"w": jnp.ones(2)})
    monkeypatch.undo()
    assert any(p.name.startswith("2.") for p in tmp_path.iterdir())  # the ruins are there
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 1
        assert not checkpoints.restore({"w": jnp.ones(2)})[0]["w"].any()
        checkpoints.save(2, {"w": jnp.full(2, 2.0)})  # and the run goes on over them
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 2
        assert float(checkpoints.restore({"w": jnp.ones(2)})[0]["w"][0]) == 2.0
