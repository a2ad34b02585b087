"""A clip store of anybody's recordings as what a run learns from."""

import numpy as np
import pytest

from prowl_jax.actions import ActionSpec, choice
from prowl_jax.data.held_out import Origin
from prowl_jax.data.store import StoreWriter
from prowl_jax.envs.clips import Clips
from prowl_jax.envs.gaps import Gaps

SPEC = ActionSpec((choice("go", "stay", "ahead"),))
LENGTHS = (10, 7, 4)


@pytest.fixture
def store(tmp_path):
    """Frame t of all frames has the grey t; each episode is from a recording of its own, from tick 100 on."""
    with StoreWriter(tmp_path / "store", SPEC, (8, 12, 3)) as writer:
        for i, length in enumerate(LENGTHS):
            first = sum(LENGTHS[:i])
            frames = np.arange(first, first + length, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(12, 2)
            actions = (np.arange(first, first + length) % 2)[:, None].astype(np.int32)
            writer.add_episode(frames.repeat(3, 3), actions, origin=Origin(f"r{i}", 100, 100 + length))
    return tmp_path / "store"


def test_its_episodes_are_cut_and_keep_their_actions_and_where_they_are_from(store):
    clips, told = Clips(path=str(store), frame_size=(4, 6)), []
    clips.check_installed()
    assert clips.spec == SPEC and clips.source == str(store) and not clips.acts()
    episodes = list(clips.record("recordings", 6, 99, 0, told.append))
    assert [len(frames) for frames, _, _ in episodes] == [6, 4, 6, 1, 4] and told[-1] == sum(LENGTHS)
    frames, actions = (np.concatenate(part) for part in list(zip(*episodes, strict=True))[:2])
    assert frames.shape == (21, 4, 6, 3) and (frames == np.arange(21)[:, None, None, None]).all()
    assert actions.dtype == np.int32 and actions[:, 0].tolist() == (np.arange(21) % 2).tolist()
    assert [tuple(origin) for _, _, origin in episodes][:2] == [("r0", 100, 106), ("r0", 106, 110)]


def test_of_more_than_are_asked_for_the_seed_draws_some(store):
    def drawn(seed):
        return [int(frames[0, 0, 0, 0]) for frames, _, _ in Clips(path=str(store)).record("recordings", 3, 4, seed)]

    assert drawn(0) == drawn(0) == sorted(drawn(0)) and len(drawn(0)) == 4
    assert len({tuple(drawn(seed)) for seed in range(8)}) > 1


def test_what_is_off_is_one_line(store):
    for path in (store / "no", store.parent):
        with pytest.raises(ValueError, match="env.clips.path=.*: no clip store at"):
            Clips(path=str(path)).check_installed()
    (store / "index.json").write_text("{")
    with pytest.raises(ValueError, match="env.clips.path=.*index.json is damaged"):
        Clips(path=str(store)).spec  # noqa: B018
    with pytest.raises(ValueError, match="cannot be planted"):
        list(Clips(path=str(store)).record("recordings", 6, 9, 0, gaps=Gaps(strafe=0.0)))
