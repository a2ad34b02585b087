"""Shrinking images by averaging areas.

A file of its own that imports numpy alone and runs on Python 3.8 and old numpy, because a MineRL
worker loads it in another Python.
"""

import numpy as np


class AreaAverage:
    """Shrinks uint8 ``[H, W, 3]`` images by averaging areas, exactly: any ratio of sizes.

    Along one axis ``n -> m`` with ``n / m = p / q`` in lowest terms, the overlaps of old and
    new pixels are multiples of ``1 / q``. Taken q-fold they are ints, and sums of them are exact
    below 2**24 in float32 (else float64 is used), so the result does not depend on the BLAS in use.
    """

    def __init__(self, source, target):
        self.rows, self.columns = _overlaps(source[0], target[0]), _overlaps(source[1], target[1])
        total = int(self.rows[0].sum()) * int(self.columns[0].sum())
        if 255 * total >= 2**24:
            self.rows, self.columns = self.rows.astype(np.float64), self.columns.astype(np.float64)
        self.total = self.rows.dtype.type(total)

    def __call__(self, image):
        """uint8 ``[H, W, 3]`` -> uint8 of the target size, rounded half up."""
        height, width, _ = image.shape
        sums = self.rows @ image.reshape(height, width * 3).astype(self.rows.dtype)
        sums = self.columns @ sums.reshape(-1, width, 3)
        return (sums / self.total + self.rows.dtype.type(0.5)).astype(np.uint8)


def _overlaps(n, m):
    """float32 ``[m, n]`` of ints: the overlap of new pixel i with old pixel j, times q."""
    common = np.gcd(n, m)
    p, q = n // common, m // common
    new, old = np.arange(m)[:, None] * p, np.arange(n)[None, :] * q
    return np.clip(np.minimum(new + p, old + q) - np.maximum(new, old), 0, None).astype(np.float32)
