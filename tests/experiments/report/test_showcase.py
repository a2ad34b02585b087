"""What the report says of the clips that an adversary kept."""

import types

import numpy as np

from experiments.report.showcase import _top
from experiments.stages.clip_stores import clip_name
from prowl_jax.types import RealClip


def test_what_a_person_brought_is_told_apart():
    """It belongs to no cycle, though the buffer took it in before the first."""
    frames = np.arange(3, dtype=np.uint8)[:, None, None, None, None] * np.ones((1, 2, 4, 4, 3), np.uint8)
    clips = RealClip(None, np.zeros((3, 2, 1), np.int32), frames)
    columns = {"score": np.array([0.1, 0.9, 0.5]), "found in cycle": np.array([2, 0, 0])}
    found = types.SimpleNamespace(clips=clips, columns=columns)
    _, top, figures, sentence = _top(found, {clip_name(clips, 1): "a person", "not kept": "a person"})
    assert top.tolist() == [1, 2, 0] and sentence == " Of 2 trajectories that were brought (phase2.include) it kept 1."
    assert figures == [
        {"score": 0.9, "found": "by a person"},
        {"score": 0.5, "found in cycle": 0},
        {"score": 0.1, "found in cycle": 2},
    ]
    _, _, figures, sentence = _top(found, {})
    assert figures[0] == {"score": 0.9, "found in cycle": 0} and sentence == ""
