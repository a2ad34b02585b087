"""What is saved comes back as it was, and what does not fit is refused by name."""

import json
import os
import pathlib
import re
import resource

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prowl_jax.pat import buffer as pat
from prowl_jax.train.checkpoint import CheckpointError, Checkpoints
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


def steps_in(directory):
    with Checkpoints(directory) as checkpoints:
        return checkpoints.steps()


def test_the_best_is_kept_beside_the_last_whoever_opens_them(tmp_path):
    for losses in ([3.0, 1.0, 2.0], [4.0, float("nan"), None]):
        with Checkpoints(tmp_path, keep=2, best=True) as checkpoints:
            first = checkpoints.latest() or 0
            for step, loss in enumerate(losses, first + 1):
                checkpoints.save(step, {"w": jnp.full(2, step)}, loss=loss)
    assert steps_in(tmp_path) == [2, 5, 6]


def largest_file(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


NOISE = {"w": jnp.asarray(np.random.default_rng(0).normal(size=4000), jnp.float32)}  # does not compress
DAMAGE = {
    "a bit": lambda step: flip(largest_file(step)),
    "a half": lambda step: cut(largest_file(step)),
    "the meta": lambda step: (step / "meta" / "metadata").write_text("{"),
    "a file": lambda step: largest_file(step).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_taken(tmp_path, capsys, damage):
    for step in (1, 2):
        save(tmp_path, step, NOISE, {"step": step})
    DAMAGE[damage](tmp_path / "2")
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(CheckpointError, match="step 2 is damaged") as caught:
            checkpoints.restore(NOISE)
        assert "\n" not in str(caught.value)
        step, state, meta = checkpoints.resume(NOISE)
        assert step == 1 and meta == {"step": 1}
        np.testing.assert_array_equal(state["w"], NOISE["w"])
        assert re.search("step 2 is damaged .*; going on from the one before", capsys.readouterr().err)
        checkpoints.save(2, NOISE)
    DAMAGE[damage](tmp_path / "1")
    DAMAGE[damage](tmp_path / "2")
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError, match="no older one is there: delete"):
        checkpoints.resume(NOISE)


def test_numbers_that_changed_on_the_way_to_the_disk_are_noticed_before_the_older_goes(tmp_path, monkeypatch):
    """A byte of the arrays is turned as the checkpoint gets its final name."""
    save(tmp_path, 1, NOISE)
    rename = os.rename

    def turn_a_byte(source, target, **kwargs):
        rename(source, target, **kwargs)
        if pathlib.Path(target).name == "2":
            flip(largest_file(pathlib.Path(target)))

    monkeypatch.setattr(os, "rename", turn_a_byte)
    with pytest.raises(CheckpointError, match="step 2 is damaged"), Checkpoints(tmp_path, 1) as c:
        c.save(2, NOISE)
    monkeypatch.undo()
    assert steps_in(tmp_path) == [1, 2]  # and not [2], as keep=1 would leave
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.resume(NOISE)[0] == 1


def test_another_version_is_refused(tmp_path):
    save(tmp_path, 1, SAVED)
    (path,) = (p for p in (tmp_path / "1" / "meta").rglob("*") if p.is_file() and b'"version"' in p.read_bytes())
    noted = json.loads(path.read_text())
    assert noted["version"] == 1
    path.write_text(json.dumps(noted | {"version": 99}))
    with Checkpoints(tmp_path) as checkpoints:
        for read in (checkpoints.restore, checkpoints.resume):
            with pytest.raises(CheckpointError, match="step 1 is of version 99, this is version 1"):
                read(SAVED)



def test_a_full_disk_keeps_the_last_good_one(tmp_path):
    """Files may grow to 64 KiB: the system refuses the rest, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = {"w": jnp.asarray(np.random.default_rng(0).normal(size=100_000), jnp.float32)}
    save(tmp_path, 1, large)
    try:
        with (
            pytest.raises(CheckpointError, match="step 2 cannot be written .*; the checkpoint of step 1 is kept") as e,
            Checkpoints(tmp_path, keep=1) as checkpoints,
        ):
            resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
            checkpoints.save(2, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(e.value)
    with Checkpoints(tmp_path) as checkpoints:
        step, state, _ = checkpoints.resume(large)
        assert step == 1
        np.testing.assert_array_equal(state["w"], large["w"])
        checkpoints.save(2, large)  # there is room again
    assert steps_in(tmp_path) == [1, 2]
