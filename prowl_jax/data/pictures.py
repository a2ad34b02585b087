"""What the pictures of a recording say: where the game begins, and whether they turn when the player turns.

For both a few numbers a frame are enough, taken while it is decoded. numpy only.
"""

import numpy as np

from prowl_jax.data.alignment import START

ROWS, COLUMNS = 12, 16  # of the small picture
VISIBLE = 8.0  # of 255: a smaller change may be the codec's
CUT = 1.5  # times what the largest changes of the game are
SAMPLE = 6000  # frames whose turns are looked at
LAGS = 10  # ticks
LEAST_TURNS = 30  # ticks with a turn, below which nothing is said
LEAST = 0.3  # correlation, below which pictures and actions have nothing to do with each other
CLEARLY = 0.2  # by so much another lag must be better than none


class Watcher:
    """Looks at the frames that are kept.

    Args:
      ticks: how many there are. turns: whether ``lag`` will be asked, for which it looks closer.
    """

    def __init__(self, ticks, turns=True):
        self._small = [None] * ticks
        self._rows = [None] * (min(ticks, SAMPLE) if turns else 0)

    def see(self, t, frame):
        """Frame ``t``, uint8 ``[H, W, 3]``."""
        height, width, _ = frame.shape
        grey = frame[:: max(height // ROWS, 1), :: max(width // COLUMNS, 1)].astype(np.float32).mean(axis=-1)
        self._small[t] = grey
        if t < len(self._rows):
            self._rows[t] = frame[height // 4 : -(-3 * height // 4)].mean(axis=(0, 2), dtype=np.float32)

    def changes(self):
        """How much the picture changes from frame t to t+1, of 255: float ``[T-1]``, NaN where one was not seen."""
        pairs = zip(self._small[:-1], self._small[1:], strict=True)
        return np.array([np.nan if a is None or b is None else np.abs(b - a).mean() for a, b in pairs])

    def leading(self, camera):
        """How many frames at the start are not the game's: those up to a cut that no action explains.

        A cut is a change of the whole picture, larger by half than nearly all later ones although the player did not
        turn.

        Args:
          camera: float ``[T, 2]``, degrees.
        """
        changes = self.changes()
        later = changes[START:]
        later = later[np.isfinite(later)]
        if len(later) < START:
            return 0
        turned = np.abs(camera[: len(changes)]).max(axis=1) > 3.0
        cut = (changes > max(VISIBLE, CUT * np.quantile(later, 0.99))) & ~turned
        found = np.flatnonzero(cut[:START])
        return int(found[-1]) + 1 if len(found) else 0

    def lag(self, yaw):
        """How many ticks the pictures come after the actions: 0 is as it should be; None where nothing is told.

        Args:
          yaw: float ``[T]``, degrees that each action turns to the right.

        Returns:
          int or None; ``LAGS + 1`` where no lag brings them together.
        """
        seen = [t for t in range(len(self._rows) - 1) if self._rows[t] is not None and self._rows[t + 1] is not None]
        turns = np.flatnonzero(np.abs(yaw[: len(self._rows)]) > 0.5)
        if len(seen) < 2 * LEAST_TURNS or len(turns) < LEAST_TURNS:
            return None
        moved = -shift(np.array([self._rows[t] for t in seen]), np.array([self._rows[t + 1] for t in seen]))
        seen = np.array(seen)
        likeness = {lag: _correlation(moved, yaw, seen, lag) for lag in range(-LAGS, LAGS + 1)}
        if not np.isfinite(likeness[0]):
            return None
        best = max(likeness, key=lambda lag: (likeness[lag], -abs(lag)))
        if likeness[best] < LEAST:
            return LAGS + 1
        return best if likeness[best] > likeness[0] + CLEARLY else 0


def _correlation(moved, yaw, seen, lag):
    """Of the pictures' movement at ``seen`` with the turns ``lag`` ticks before; -1 where they do not vary."""
    inside = (seen - lag >= 0) & (seen - lag < len(yaw))
    a, b = moved[inside], yaw[seen[inside] - lag]
    if len(a) < LEAST_TURNS or not a.std() > 0 or not b.std() > 0:
        return np.nan if lag == 0 else -1.0
    return float(np.corrcoef(a, b)[0, 1])


def shift(before, after):
    """By how many columns to the right each row of ``after`` ``[N, W]`` is ``before`` moved: float ``[N]``."""
    width = before.shape[1]
    most = width // 4
    inner = slice(most, width - most)
    offsets = np.arange(-most, most + 1)
    errors = np.stack(
        [np.square(after[:, most + s : width - most + s] - before[:, inner]).mean(axis=1) for s in offsets], axis=1
    )
    even = errors.max(axis=1) - errors.min(axis=1) < 1e-3  # a wall of one colour
    return np.where(even, 0, offsets[errors.argmin(axis=1)]).astype(np.float32)
