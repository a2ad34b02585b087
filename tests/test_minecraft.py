"""Minecraft's action codec: VPT's own tables row by row, round trips, and JAX against numpy."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prowl_jax import minecraft as mc

ROOT = pathlib.Path(__file__).parents[1]
VECTORS = ROOT / "tests" / "fixtures" / "vpt_actions.npz"
PITCH, YAW = mc.SPEC.camera_factors

joints = st.tuples(st.integers(0, mc.INVENTORY), st.integers(0, 120)).map(np.array)
factor_rows = st.tuples(*(st.integers(0, size - 1) for size in mc.SPEC.sizes)).map(np.array)
degrees = st.floats(-180, 180, width=32)
minerl_actions = st.fixed_dictionaries(
    {key: st.integers(0, 1) for key in mc.MINERL_KEYS}
    | {"camera": st.tuples(degrees, degrees).map(lambda pair: np.array(pair, np.float32))}
)


def by_numpy(function, *arguments):
    return function(*arguments)


def by_jax(function, *arguments):
    return jax.tree.map(np.asarray, jax.jit(function)(*jax.tree.map(jnp.asarray, arguments)))


BACKENDS = pytest.mark.parametrize("run", [by_numpy, by_jax])


@pytest.fixture(scope="module")
def vectors():
    return np.load(VECTORS)


def as_minerl(keys, degrees):
    return {key: keys[..., i] for i, key in enumerate(mc.VPT_KEYS)} | {"camera": degrees}


def equal(ours, theirs):
    """Arrays (or lists), or tuples and dicts of them."""
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs)
        ours, theirs = [ours[name] for name in theirs], tuple(theirs.values())
    if isinstance(theirs, tuple):
        for a, b in zip(ours, theirs, strict=True):
            equal(a, b)
    else:
        np.testing.assert_array_equal(ours, theirs)


def close(run, ours, degrees):
    """Exact where float64 is kept; JAX's default is float32."""
    np.testing.assert_allclose(ours, degrees, rtol=0, atol=0 if run is by_numpy else 1e-6)


def keys_of(action):
    return np.stack([action[key] for key in mc.VPT_KEYS], axis=-1)


def bins_of(factors):
    return factors[..., [PITCH, YAW]]


# Against VPT's code


@BACKENDS
def test_what_a_player_did_becomes_vpts_indices(vectors, run):
    factors = run(mc.minerl_to_factors, as_minerl(vectors["env/keys"], vectors["env/camera_degrees"]))
    equal(bins_of(factors), vectors["camera_bins"])
    joint = np.stack([vectors["joint/buttons"], vectors["joint/camera"]], -1)
    equal(run(mc.factors_to_joint, factors), joint)
    back = run(mc.joint_to_factors, joint)
    equal(bins_of(back), vectors["back/camera_bins"])
    action = run(mc.factors_to_minerl, back)
    equal(keys_of(action), vectors["back/keys"])
    close(run, action["camera"], vectors["back/camera_degrees"])


@BACKENDS
def test_what_a_policy_draws_becomes_vpts_keys(vectors, run):
    factors = run(mc.joint_to_factors, np.stack([vectors["sampled/buttons"], vectors["sampled/camera"]], -1))
    equal(bins_of(factors), vectors["sampled/camera_bins"])
    action = run(mc.factors_to_minerl, factors)
    equal(keys_of(action), vectors["sampled/keys"])
    close(run, action["camera"], vectors["sampled/camera_degrees"])


@BACKENDS
def test_what_the_inverse_dynamics_model_reads_is_what_the_game_does(vectors, run):
    keys, bins = vectors["sampled/keys"], vectors["sampled/camera_bins"]
    action = run(mc.vpt_to_minerl, keys, bins)
    equal(keys_of(action), keys)
    close(run, action["camera"], vectors["sampled/camera_degrees"])
    assert set(action) == {*mc.MINERL_KEYS, "camera"}
    assert not any(action[key].any() for key in set(mc.MINERL_KEYS) - set(mc.VPT_KEYS))


@BACKENDS
def test_every_joint_index_is_vpts(vectors, run):
    buttons = np.arange(mc.INVENTORY + 1)
    factors = run(mc.joint_to_factors, np.stack([buttons, np.zeros_like(buttons)], -1))
    equal(keys_of(run(mc.factors_to_minerl, factors)), vectors["table/buttons_to_keys"])
    equal((bins_of(factors) == mc.STILL).all(-1), vectors["table/camera_off"])  # camera 0 is (-10, -10)
    turns = np.arange(121)
    factors = run(mc.joint_to_factors, np.stack([np.ones_like(turns), turns], -1))
    equal(bins_of(factors), vectors["table/camera_to_bins"])
    equal(mc.VPT_SPEC.null, vectors["zero_action"])
    equal(list(mc.VPT_KEYS), vectors["button_names"].tolist())


@BACKENDS
def test_every_hundredth_of_a_degree_falls_into_vpts_bin(vectors, run):
    grid = vectors["grid/degrees"]
    for axis in (0, 1):
        camera = np.zeros((len(grid), 2))
        camera[:, axis] = grid
        bins = bins_of(run(mc.minerl_to_factors, {"camera": camera}))
        equal(bins[:, axis], vectors["grid/bins"])
        assert (bins[:, 1 - axis] == mc.STILL).all()


# Properties


@given(joint=joints)
def test_what_a_policy_draws_survives_every_way_round(joint):
    """All but two of a joint action's redundancies: see the module's docstring."""
    factors = mc.joint_to_factors(joint)
    equal(mc.minerl_to_factors(mc.factors_to_minerl(factors)), factors)
    canonical = mc.factors_to_joint(factors)
    if joint[0] == mc.INVENTORY:
        equal(canonical, [mc.INVENTORY, mc.STILL_CAMERA])
    else:
        # Without a movement the switch is off, and with the switch off there is no movement.
        moves = joint[0] % 2 == 1 and joint[1] != mc.STILL_CAMERA
        equal(canonical, joint if moves else [joint[0] - joint[0] % 2, mc.STILL_CAMERA])
        equal(mc.joint_to_factors(canonical), factors)


@given(row=factor_rows)
def test_factors_survive_minerls_dict(row):
    action = mc.factors_to_minerl(row)
    equal(mc.minerl_to_factors(action), row)
    assert set(action) == {*mc.MINERL_KEYS, "camera"} and action["ESC"] == 0


@given(action=minerl_actions)
def test_factors_keep_all_but_what_the_docstring_names(action):
    row = mc.minerl_to_factors(action)
    expected = {key: value for key, value in action.items() if key not in mc.HOTBAR}
    for one, other in (("forward", "back"), ("left", "right")):
        if action[one] and action[other]:
            expected[one] = expected[other] = 0
    held = [key for key in mc.HOTBAR if action[key]]
    expected |= {key: int(held[-1:] == [key]) for key in mc.HOTBAR}
    expected["ESC"] = 0
    expected["camera"] = mc.CAMERA.decode(mc.CAMERA.encode(action["camera"]))
    equal(mc.factors_to_minerl(row), expected)


@given(action=minerl_actions)
def test_a_joint_index_keeps_all_but_what_the_docstring_names(action):
    joint = mc.factors_to_joint(mc.minerl_to_factors(action))
    keys = mc.factors_to_minerl(mc.joint_to_factors(joint))
    if action["inventory"]:
        assert keys["inventory"] == 1 == sum(keys[key] for key in mc.VPT_KEYS) and joint[1] == mc.STILL_CAMERA
    else:
        assert keys["sneak"] == action["sneak"]
        assert keys["sprint"] == (action["sprint"] and not action["sneak"])
        for key in ("attack", "jump", "use", "drop"):
            assert keys[key] == action[key]


@BACKENDS
def test_clashes_by_hand(run):
    def joint(*held, camera=(0, 0)):
        action = {**dict.fromkeys(held, 1), "camera": np.array(camera, np.float32)}
        return run(mc.factors_to_joint, run(mc.minerl_to_factors, action)).tolist()

    assert joint() == [0, 60]
    assert joint("forward", "back") == joint("left", "right") == [0, 60]
    assert joint("sprint", "sneak") == joint("sneak")
    assert joint("hotbar.1", "hotbar.9") == joint("hotbar.9")
    assert joint("inventory", "forward", camera=(3, 3)) == [8640, 60]
    assert joint("ESC", "pickItem", "swapHands") == [0, 60]
    assert joint("jump", camera=(0, 10)) == [3, 65]  # jump 2 + the switch; pitch 5, yaw 10


def test_jax_agrees_with_numpy_on_every_conversion():
    rng = np.random.default_rng(0)
    joint = np.stack([rng.integers(0, 8641, (5, 60)), rng.integers(0, 121, (5, 60))], -1).astype(np.int32)
    joint[0, :5, 0] = mc.INVENTORY
    factors = rng.integers(0, mc.SPEC.sizes, (5, 60, len(mc.SPEC.sizes))).astype(np.int32)
    minerl = {key: rng.integers(0, 2, (5, 60)) for key in mc.MINERL_KEYS}
    minerl["camera"] = rng.normal(0, 6, (5, 60, 2)).astype(np.float32)
    vpt = rng.integers(0, 2, (5, 60, 20)), rng.integers(0, 11, (5, 60, 2))
    for function, *arguments in (
        (mc.joint_to_factors, joint),
        (mc.factors_to_joint, factors),
        (mc.factors_to_minerl, factors),
        (mc.minerl_to_factors, minerl),
        (mc.vpt_to_minerl, *vpt),
    ):
        ours, theirs = by_numpy(function, *arguments), by_jax(function, *arguments)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            assert a.shape == b.shape and a.dtype.kind == b.dtype.kind
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_jax_bins_float32_degrees_as_numpy_does_to_the_last_bit():
    """Beside every limit: the neighbours in float32, where rounding the limit up would show."""
    limits = mc.CAMERA.decode(np.arange(10) + 0.5).astype(np.float32)
    near = [limits]
    for side in (-np.inf, np.inf):
        near += [np.nextafter(limits, np.float32(side)), np.nextafter(near[-1], np.float32(side))]
    camera = np.stack([np.concatenate(near)] * 2, -1)
    equal(by_jax(mc.minerl_to_factors, {"camera": camera}), mc.minerl_to_factors({"camera": camera}))


# The forms themselves


def test_specs():
    assert len(mc.MINERL_KEYS) == 23 and mc.VPT_SPEC.sizes == (8641, 121)
    assert mc.SPEC.sizes == (3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 10, 11, 11)
    equal(mc.VPT_SPEC.null, [0, 60])
    equal(mc.joint_to_factors(mc.VPT_SPEC.null), mc.SPEC.null)
    equal(mc.factors_to_joint(mc.SPEC.null), mc.VPT_SPEC.null)
    assert mc.VPT_SPEC.describe([8640, 60]) == "inventory" and mc.VPT_SPEC.describe([0, 60]) == ""
    assert mc.VPT_SPEC.describe([3, 65]) == "jump+camera, pitch +0.0 yaw +10.0"
    assert mc.SPEC.describe(mc.joint_to_factors([3, 65])) == "jump, yaw +10.0"
    assert mc.ActionSpec.from_json(mc.VPT_SPEC.to_json()) == mc.VPT_SPEC


@BACKENDS
def test_missing_keys_are_up_and_leading_axes_broadcast(run):
    equal(run(mc.minerl_to_factors, {"jump": np.int32(1)}), mc.joint_to_factors([2, 60]))
    rows = run(mc.minerl_to_factors, {"jump": np.ones((3, 1), int), "camera": np.zeros((1, 4, 2))})
    assert rows.shape == (3, 4, 14) and (rows[..., mc.SPEC.index("jump")] == 1).all()
    assert run(mc.joint_to_factors, np.zeros((0, 7, 2), int)).shape == (0, 7, 14)


def test_an_empty_dict_is_the_null_action():
    equal(mc.minerl_to_factors({}), mc.SPEC.null)


@pytest.mark.parametrize(
    "function, arguments, message",
    [
        (mc.minerl_to_factors, ({"hotbar.10": 1},), "no Minecraft key 'hotbar.10'"),
        (mc.minerl_to_factors, ({"camera": np.zeros(3)},), r"camera must be degrees \[..., 2\]"),
        (mc.minerl_to_factors, ({"camera": [0, np.nan]},), "not finite"),
        (mc.vpt_to_minerl, (np.zeros((4, 20)), np.zeros((5, 2), int)), "got \\(4, 20\\) and \\(5, 2\\)"),
        (mc.vpt_to_minerl, (np.zeros(20), np.array([0, 11])), "camera bins must be ints in 0..10"),
        (mc.joint_to_factors, ([8641, 0],), "'buttons' must be in 0..8640"),
        (mc.joint_to_factors, ([0, 121],), "'camera' must be in 0..120"),
        (mc.factors_to_joint, (np.zeros(13, int),), "14"),
        (mc.factors_to_joint, (jnp.zeros(13, int),), "14"),
    ],
)
def test_bad_input_is_named(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


def test_workers_can_use_it_without_jax():
    script = "import sys, prowl_jax.minecraft as m; m.joint_to_factors([0, 60]); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
