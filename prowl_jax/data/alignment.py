"""Whether the recorded actions of a recording belong to its pictures, by what its ticks say of themselves.

Three fields hold a recording against itself, where a recorder writes them: ``tick`` counts, ``yaw`` and ``pitch`` say
where the player looked, and the position where he stood. The rules, which docs/recordings.md gives with their reasons,
end in one of ``FAULTS`` for a tick, and a tick with a fault is left out. numpy only.
"""

import numpy as np

FAULTS = (
    "missing",
    "twice",
    "unknown",
    "turn without movement",
    "movement without turn",
    "another turn",
    "not yet the game",
)
"""Why a tick is left out; ``Ticks.fault`` is 0 or one more than an index here."""
MISSING, TWICE, UNKNOWN, LOST, IGNORED, OTHER, EARLY = range(1, len(FAULTS) + 1)

DEGREES_PER_PIXEL = 360.0 / 2400.0
SECOND = 20  # ticks; faults closer than this are one, for what lies between was recorded by the same broken recorder
START = 3 * SECOND  # what comes later is no loading screen
SLACK = 2  # frames by which a video and its ticks differ without any fault: the real ones do by one
CLAMP = 89.9  # degrees of pitch: looking straight up or down ends a movement
TURNS = 10  # so many turned ticks tell a scale


def places(tick, frames):
    """On which frame of the video each record lies.

    Records whose ``tick`` goes on by one lie on consecutive frames. Where it does not, the video's length says whether
    it has a frame for every tick or for every record; where it says neither, nothing is known from there on.

    Args:
      tick: float ``[N]``, NaN where a record has none.
      frames: ``f() -> frames of the video``, asked only where they matter; None: the records alone are read.

    Returns:
      (``[N]`` frame of each record or -1, ``[N]`` fault of each record).
    """
    count = len(tick)
    rows, fault = np.arange(count), np.zeros(count, np.int8)
    known = np.isfinite(tick) & (np.abs(tick) < 2**52)
    if not known[:1].all() or not known.any():
        return rows, fault
    filled = np.where(known, tick, 0.0)
    last = np.maximum.accumulate(np.where(known, rows, 0))  # a record without a tick counts on from the one before
    filled = filled[last] + (rows - last)
    step = np.diff(filled)
    irregular = np.flatnonzero(step != 1)
    if not len(irregular):
        return rows, fault
    span, frames = filled[-1] - filled[0] + 1, frames and frames()
    by_tick, by_row = (frames is not None and abs(frames - n) <= SLACK for n in (span, count))
    if by_tick and by_row:
        by_tick, by_row = frames == span != count, frames == count != span
    if (step > 1).any() and (step == 0).any():
        by_row = False  # what is missing and what came twice may make up for each other
    if frames is not None and not by_row and (not by_tick or (step < 0).any()):
        after = irregular[0]
        fault[after:] = MISSING
        return rows, fault
    doubled = step == 0
    if frames is None or not by_tick:
        fault[:-1][doubled] = TWICE
        fault[:-1][(step != 1) & ~doubled] = MISSING  # what it led to is not one tick on
        return rows, fault
    place = (filled - filled[0]).astype(int)
    again = np.concatenate([[False], doubled])
    fault[again | np.concatenate([doubled, [False]])] = TWICE
    place[again] = -1
    return place, fault


def scale(moved, turned, usable):
    """Degrees that a pixel of the mouse turned in this recording: the usual ones unless the view says others.

    Args:
      moved: float ``[T]`` pixels. turned: float ``[T]`` degrees. usable: bool ``[T]``, where both are known.
    """
    both = usable & (np.abs(moved) > 0) & (np.abs(turned) > 1e-6)
    if both.sum() < TURNS:
        return DEGREES_PER_PIXEL
    moved, turned = moved[both], turned[both]
    if (np.abs(turned - DEGREES_PER_PIXEL * moved) <= _tolerance(turned)).mean() >= 0.5:
        return DEGREES_PER_PIXEL
    other = float(np.median(turned / moved))
    holds = (np.abs(turned - other * moved) <= _tolerance(turned)).mean() >= 0.8
    return other if holds else DEGREES_PER_PIXEL


def turns(moved, view, usable):
    """Hold the recorded movement against the view.

    Args:
      moved: float ``[T, 2]``, pixels of the mouse down and right.
      view: float ``[T, 2]``, degrees of pitch and yaw of each tick, NaN where unknown.
      usable: bool ``[T]``, ticks whose next one follows a tick later, both in the game.

    Returns:
      (degrees a pixel ``[2]``, int8 ``[T]`` faults, whether the view said anything).
    """
    count = len(moved)
    fault, scales = np.zeros(count, np.int8), np.full(2, DEGREES_PER_PIXEL)
    turned = np.full((count, 2), np.nan)
    turned[:-1] = np.diff(view, axis=0)
    turned[:, 1] = (turned[:, 1] + 180.0) % 360.0 - 180.0
    usable = usable & np.isfinite(turned).all(axis=1)
    if not (np.abs(turned[usable]) > 1e-6).any():  # a view that never turns is one that nobody wrote
        return scales, fault, False
    free = np.ones((count, 2), bool)
    straight = np.abs(view[:, 0]) >= CLAMP
    free[:, 0] = ~(straight | np.concatenate([straight[1:], [False]]))
    scales[1] = scale(moved[:, 1], turned[:, 1], usable)
    scales[0] = scale(moved[:, 0], turned[:, 0], usable & free[:, 0])
    if scales[0] == DEGREES_PER_PIXEL != scales[1] and not _holds(moved[:, 0], turned[:, 0], usable & free[:, 0]):
        scales[0] = scales[1]
    expected = moved * scales
    tolerance = 2e-3 + 1e-6 * np.abs(view) + 1e-4 * np.abs(expected)
    with np.errstate(invalid="ignore"):
        wrong = usable[:, None] & free & (np.abs((expected - turned + 180.0) % 360.0 - 180.0) > tolerance)
        still = np.abs(np.where(free, turned, 0.0)) <= tolerance
    rests = ~(moved != 0).any(axis=1)
    any_wrong = wrong.any(axis=1)
    fault[any_wrong] = OTHER
    fault[any_wrong & (still | ~wrong).all(axis=1)] = IGNORED
    fault[any_wrong & rests] = LOST
    for kind in (LOST, IGNORED, OTHER):
        fault[_bridged(fault == kind) & (fault == 0)] = kind
    quiet = usable & rests & (np.abs(np.nan_to_num(turned)) <= tolerance).all(axis=1)
    fault[_beside(fault == LOST, quiet) & (fault == 0)] = LOST
    return scales, fault, True


def _holds(moved, turned, usable):
    both = usable & (moved != 0) & (np.abs(turned) > 1e-6)
    expected = DEGREES_PER_PIXEL * moved[both]
    return both.any() and (np.abs(turned[both] - expected) <= _tolerance(expected)).mean() >= 0.5


def _tolerance(turned):
    return 2e-3 + 0.01 * np.abs(turned)


def _bridged(mask):
    """``mask`` with the gaps between its members filled where they are shorter than a second."""
    at, filled = np.flatnonzero(mask), mask.copy()
    for a, b in zip(at[:-1], at[1:], strict=True):
        if b - a <= SECOND:
            filled[a:b] = True
    return filled


def _beside(mask, quiet):
    """The stretches of ``quiet``, up to a second of each, that touch a member of ``mask``: they prove nothing."""
    spread = mask.copy()
    for _ in range(SECOND):
        near = np.concatenate([spread[1:], [False]]) | np.concatenate([[False], spread[:-1]])
        spread |= near & quiet
    return spread


def leading(server, position, walks):
    """How many ticks at the start the world did not run yet.

    As long as the server's clock stands, and as long as walking moves nobody although later it does.

    Args:
      server: float ``[T]``, the server's ticks. position: float ``[T, 3]``. NaN where a record has none.
      walks: bool ``[T]``, where a key of walking is down without its opposite.
    """
    began = min(len(server) - 1, START)
    stands = np.diff(server)[:began] == 0
    waits = int(np.argmin(stands)) if not stands.all() else 0  # a clock that always stands is one that nobody wrote
    with np.errstate(invalid="ignore"):
        goes = walks[:-1] & (np.abs(np.diff(position, axis=0)) > 0).any(axis=1)
    first = int(np.argmax(goes)) if goes.any() else 0
    known = np.isfinite(position[: first + 1]).all(axis=1)
    in_vain = np.flatnonzero(walks[: min(first, began)] & known[: min(first, began)])
    return max(waits, int(in_vain[-1]) + 1 if len(in_vain) else 0)
