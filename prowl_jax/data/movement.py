"""Whether pictures move when the actions say so: the movement of a picture as a whole, held against actions at lags.

numpy only. The movement is the flow of a picture that moves as one: by how many columns its column means are shifted,
and by how many rows its row means.
"""

import numpy as np

from prowl_jax.data.pictures import shift

LAGS = (-2, -1, 0, 1, 2)
LEAST = 60
"""Pairs of frames, below which nothing is said."""
FRAMES = 4000
"""Frames of a store that are looked at."""
CLEARLY = 0.1
"""By so much another lag must explain more than lag 0 before it is told."""


def flow(frames):
    """Columns to the right and rows down by which each frame moves into the next: uint8 ``[T, H, W, 3]`` ->
    float32 ``[T-1, 2]``."""
    axes = (frames.mean(axis=(row, 3), dtype=np.float32) for row in (1, 2))
    return np.stack([shift(means[:-1], means[1:]) for means in axes], axis=1)


def explained(moved, values):
    """Share of the movement's variance that an action tells, the correlation ratio (Pearson, 1905), squared: 0..1.

    Args:
      moved: ``[N, 2]``. values: int ``[N]``, the values of one factor.

    Returns:
      float; NaN where nothing moves or the action never changes.
    """
    total = np.square(moved - moved.mean(axis=0)).sum()
    if not total > 0 or len(np.unique(values)) < 2:
        return np.nan
    between = 0.0
    for value in np.unique(values):
        group = moved[values == value]
        between += len(group) * np.square(group.mean(axis=0) - moved.mean(axis=0)).sum()
    return float(between / total)


def lag_table(episodes):
    """``{lag: explained}`` of each factor, a list: how well action t - lag tells the movement from frame t to t+1.

    Args:
      episodes: pairs (frames uint8 ``[T, H, W, 3]``, actions int ``[T, A]``).
    """
    pairs = [(flow(frames), np.asarray(actions)) for frames, actions in episodes if len(frames) > 2 * max(LAGS) + 1]
    edge = max(LAGS)
    table = []
    for factor in range(pairs[0][1].shape[1] if pairs else 0):
        row = {}
        for lag in LAGS:
            inner = [slice(edge, len(moved) - edge) for moved, _ in pairs]
            moved = np.concatenate([m[i] for (m, _), i in zip(pairs, inner, strict=True)])
            values = [a[i.start - lag : i.stop - lag, factor] for (_, a), i in zip(pairs, inner, strict=True)]
            row[lag] = explained(moved, np.concatenate(values)) if len(moved) >= LEAST else np.nan
        table.append(row)
    return table


def best_lag(row):
    """The lag of a row at which the action tells most, 0 unless another is clearly better; None where none is known."""
    known = {lag: share for lag, share in row.items() if np.isfinite(share)}
    if 0 not in known:
        return None
    best = max(known, key=lambda lag: (known[lag], -abs(lag)))
    return best if known[best] > known[0] + CLEARLY else 0


def lags_of(store):
    """``lag_table`` of the first ``FRAMES`` frames of a ``ClipStore``: pairs of a factor's name and its row."""
    episodes, seen = [], 0
    for i in range(len(store.lengths)):
        clip = store.episode(i)
        episodes.append((clip.frames[: FRAMES - seen], clip.actions[: FRAMES - seen]))
        seen += len(episodes[-1][0])
        if seen >= FRAMES:
            break
    return list(zip(store.spec.names, lag_table(episodes), strict=False))


def warnings_of(lags):
    """A sentence for each factor of ``lags_of`` that tells the movement clearly better at another lag than 0."""
    said = []
    for name, row in lags:
        if lag := best_lag(row):
            when = f"{abs(lag)} frame{'s' * (abs(lag) > 1)} {'after' if lag > 0 else 'before'}"
            said.append(f"warning: the picture moves {when} {name[:24]}; shift the actions")
    return said
