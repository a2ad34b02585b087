"""Which episodes of a store are held out: never some that touch what is trained on."""

import re
from typing import NamedTuple

import numpy as np

_SESSION = re.compile(r"(.+-[0-9a-f]{12})-\d{8}-\d{6}")
"""VPT and BASALT name a recording PLAYER-SESSION-DATE-TIME: a session is recorded in segments of five minutes."""


class Origin(NamedTuple):
    """Where an episode is from: the name of a recording, and which of its ticks, ``start`` to ``stop - 1``."""

    recording: str
    start: int
    stop: int


class HeldOut(NamedTuple):
    """Episode ids for training and held out, two sorted int64 vectors, and by what they were told apart, in words."""

    train: np.ndarray
    held_out: np.ndarray
    way: str


def session_of(recording):
    """The session in the name of a recording, or None where the name tells none."""
    match = _SESSION.fullmatch(recording.rsplit("/", 1)[-1])
    return match and match[1]


def hold_out(origins, fraction, seed, gap=0):
    """Split episodes, at least one on either side; the same seed gives the same split.

    Whole sessions are held out where names tell at least two of them, else whole recordings where there are two. Of a
    single one it is the end, and what lies less than ``gap`` ticks before it is on neither side.

    Args:
      origins: an ``Origin`` for each episode. fraction: of the episodes, 0..1.
      gap: ticks; a context and a horizon, so that no clip of the one side reaches into what the other is about.

    Raises:
      ValueError: there is no such split.
    """
    count = len(origins)
    if count < 2 or not 0 <= fraction <= 1:
        raise ValueError(
            f"cannot hold out {fraction} of {count} episodes: at least two episodes and a fraction in 0..1 are needed"
        )
    target = int(np.clip(round(fraction * count), 1, count - 1))
    sessions = [session_of(o.recording) for o in origins]
    recordings = [o.recording for o in origins]
    ways = (("by session", [s or r for s, r in zip(sessions, recordings, strict=True)]), ("by recording", recordings))
    for way, groups in ways[0 if any(sessions) else 1 :]:
        if len(set(groups)) > 1:
            held_out = _groups(groups, target, seed)
            return HeldOut(np.flatnonzero(~held_out), np.flatnonzero(held_out), way)
    order = sorted(range(count), key=lambda i: origins[i].start)
    held_out = sorted(order[-target:])
    begin = min(origins[i].start for i in held_out)
    train = [i for i in range(count) if origins[i].stop + gap <= begin]
    if not train:
        raise ValueError(
            f"all {count} episodes are of one recording, {recordings[0]}, and none ends {gap} ticks before the last "
            f"{target}: read more recordings, or cut it into shorter episodes"
        )
    way = f"the end of the one recording, {begin - max(origins[i].stop for i in train)} ticks after what is trained on"
    return HeldOut(np.array(train, np.int64), np.array(held_out, np.int64), way)


def _groups(groups, target, seed):
    """Bool, the episodes of groups drawn in any order as long as no more than ``target`` are held out; one at least."""
    names, of = np.unique(groups, return_inverse=True)
    first = np.array([int(np.argmax(of == g)) for g in range(len(names))])
    order = np.argsort(first)  # groups in the order in which they come
    sizes, held_out = np.bincount(of), np.zeros(len(of), bool)
    for group in order[np.random.default_rng(seed).permutation(len(names))]:
        if held_out.sum() + sizes[group] <= target:
            held_out |= of == group
    return held_out if held_out.any() else of == order[np.argmin(sizes[order])]
