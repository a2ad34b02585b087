"""Craftax: who wanders in it, and what was in the way there and is not here. The contract holds the rest."""

import contextlib
import pathlib
import sys

import numpy as np
import pytest

from prowl_jax.envs.craftax.environment import ACHIEVEMENTS, ACTIONS, SPEC, Craftax
from prowl_jax.envs.craftax.wanderer import WALKS


def wander(steps, seed=0, room=4):
    """What a wanderer does in an empty room of a few tiles: labels, and whether each step was a bump."""
    actor, place = Craftax().demonstrator("wander"), np.zeros(3, np.float32)
    actor.reset(seed)
    did, bumped = [], []
    for _ in range(steps):
        label = ACTIONS[int(actor.act(place, None)[0])]
        way = {"left": (-1, 0), "right": (1, 0), "up": (0, 1), "down": (0, -1)}.get(label, (0, 0))
        after = np.array([*np.clip(place[:2] + way, -room, room), 0], np.float32)
        bumped.append(label in WALKS and (after == place).all())
        did, place = [*did, label], after
    return did, np.array(bumped)


def test_who_wanders_walks_most_of_the_time_and_hits_what_is_in_the_way():
    did, bumped = wander(4000)
    share = {label: did.count(label) / len(did) for label in ACTIONS}
    assert sum(share[way] for way in WALKS) > 0.5 and all(share.values())
    after = [did[t + 1] for t in np.flatnonzero(bumped[:-1])]
    assert 0.5 < after.count("do") / len(after) < 0.9
    assert wander(50, 3)[0] == wander(50, 3)[0] != wander(50, 4)[0]


@pytest.mark.parametrize("package", ["craftax", "imageio"])
def test_where_it_is_missing_one_line_says_how_it_is_installed(monkeypatch, package):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else sys)
    with pytest.raises(ValueError, match=f"needs the package {package}: pip install --no-deps 'craftax") as caught:
        Craftax().make("wander", 1)
    assert "\n" not in str(caught.value)


def test_a_task_or_gaps_that_there_are_not_are_one_line():
    with pytest.raises(ValueError, match="craftax has the tasks wander, restless, not 'fly'"):
        Craftax().make_device("fly")
    with pytest.raises(ValueError, match="gaps cannot be planted"):
        Craftax().demonstrator("wander", gaps=object())


@pytest.fixture(scope="module")
def world():
    """(package, a ``HostEnv`` of two worlds in which an episode has four steps)."""
    pytest.importorskip("imageio")
    craftax = pytest.importorskip("craftax")
    with contextlib.closing(Craftax(worlds=4, episode_steps=4).make("wander", 2)) as env:
        yield pathlib.Path(craftax.__path__[0]), env


def test_a_step_compiles_once_writes_nothing_and_tells_what_was_reached(world):
    from prowl_jax.envs.craftax.world import TILE, _shares
    from prowl_jax.envs.device import _step

    package, env = world
    before, compiled = {p: p.stat().st_mtime for p in package.rglob("assets/*")}, _step._cache_size()
    first = env.reset([3, 4])
    assert first.frames.shape == (2, 64, 64, 3)
    assert (first.frames[:, -1] == 0).all() and (first.frames[:, :, -1] == 0).all()  # 63 pixels of pictures
    tiles = first.frames[:, : 7 * TILE, : 9 * TILE].reshape(2, 7, TILE, 9, TILE, 3)
    assert tiles.std((2, 4)).max() > 5 and first.frames.max() > 200
    steps = [env.step(np.full((2, 1), ACTIONS.index("sleep"), np.int32))]
    steps += [env.step(SPEC.null[None].repeat(2, 0)) for _ in range(7)]
    assert _step._cache_size() == compiled + 1
    assert {p: p.stat().st_mtime for p in package.rglob("assets/*")} == before
    assert [bool(s.done[0]) for s in steps] == [False, False, False, True] * 2
    np.testing.assert_array_equal(steps[3].info["pose"][0, :2], first.info["pose"][0, :2])  # the middle of a world
    assert {name for name in steps[0].info if name.startswith("event_")} == {f"event_{name}" for name in ACHIEVEMENTS}
    np.testing.assert_allclose(_shares(63, 32).sum(1), 1, rtol=1e-6)


def test_a_smaller_picture_is_an_average(world):
    from prowl_jax.envs.craftax.world import _shares

    _, env = world
    picture = env.reset([3, 4]).frames[0, :63, :63].astype(np.float32)
    whole = np.einsum("hr,rck,wc->hwk", _shares(63, 21), picture, _shares(63, 21))
    np.testing.assert_allclose(whole, picture.reshape(21, 3, 21, 3, 3).mean((1, 3)), atol=1e-2)
