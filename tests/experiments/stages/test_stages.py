"""Clips of episodes that are too short."""

import numpy as np
import pytest

from experiments.run.command_line import UsageError
from experiments.stages.clip_stores import clip_starts
from experiments.torture.toy_env import FRAME_SHAPE, SPEC
from prowl_jax.data.store import ClipStore, StoreWriter


@pytest.fixture
def store(tmp_path):
    with StoreWriter(tmp_path / "store", SPEC, FRAME_SHAPE) as writer:
        for frames in (3, 9, 5):
            writer.add_episode(np.zeros((frames, *FRAME_SHAPE), np.uint8), np.zeros((frames, 1), np.int32))
    return ClipStore.open(tmp_path / "store")


def test_short_episodes_are_skipped_and_counted(store, capsys):
    """The second episode is frames 3 to 11: three clips of seven."""
    assert clip_starts(store, np.arange(3), 7, "reference.clip").tolist() == [3, 4, 5]
    assert "2 of 3 episodes are shorter than reference.clip=7: no clips of them" in capsys.readouterr().out
    clip_starts(store, np.arange(3), 3, "reference.clip")
    assert capsys.readouterr().out == ""


def test_where_all_are_too_short_the_key_is_named(store):
    with pytest.raises(UsageError, match="all 2 training episodes of .* are shorter than reference.clip=6; lower it"):
        clip_starts(store, np.array([0, 2]), 6, "reference.clip")
