"""Shrinking images by averaging areas.

A file of its own that imports numpy alone and runs on Python 3.8 and old numpy, because a MineRL
worker loads it in another Python.
"""

import numpy as np


class AreaAverage:
    """Shrinks uint8 ``[H, W, 3]`` images by averaging areas, exactly: any ratio of sizes.

    Along one axis ``n -> m`` with ``n / m = p / q`` in lowest terms, every run of p old pixels becomes q
    new ones, and their overlaps are multiples of ``1 / q``. Taken q-fold they are ints, and sums of them
    are exact below 2**24 in float32 (else float64 is used), so the result does not depend on the BLAS in
    use. A frame is then two products with small matrices.
    """

    def __init__(self, source, target):
        rows, columns = _overlaps(source[0], target[0]), _overlaps(source[1], target[1])
        total = int(rows[0].sum()) * int(columns[0].sum())
        self.dtype = np.float32 if 255 * total < 2**24 else np.float64
        self.rows = rows.astype(self.dtype)
        self.columns = np.kron(columns.T, np.eye(3)).astype(self.dtype)  # the colours beside each other
        self.total, self.shape = self.dtype(total), (target[0], target[1], 3)
        # Memory that is kept: fresh memory would cost half as much again.
        runs = source[0] // self.rows.shape[1]
        self._runs = np.empty((runs, self.rows.shape[1], source[1] * 3), self.dtype)
        self._lines = np.empty((runs, self.rows.shape[0], source[1] * 3), self.dtype)
        self._sums = np.empty((self._lines.size // len(self.columns), self.columns.shape[1]), self.dtype)

    def __call__(self, image):
        """uint8 ``[H, W, 3]`` -> uint8 of the target size, rounded half up."""
        np.copyto(self._runs, image.reshape(self._runs.shape))
        np.matmul(self.rows, self._runs, out=self._lines)
        np.matmul(self._lines.reshape(-1, len(self.columns)), self.columns, out=self._sums)
        self._sums /= self.total
        self._sums += self.dtype(0.5)
        return self._sums.astype(np.uint8).reshape(self.shape)


def _overlaps(n, m):
    """Ints ``[q, p]``: the overlap of new pixel i of a run with old pixel j, times q."""
    common = np.gcd(n, m)
    p, q = n // common, m // common
    new, old = np.arange(q)[:, None] * p, np.arange(p)[None, :] * q
    return np.clip(np.minimum(new + p, old + q) - np.maximum(new, old), 0, None)
