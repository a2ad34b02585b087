"""Is what is said to be likely as frequent as that? Reliability, its expected error, and Brier's score (numpy)."""

import numpy as np


def reliability(said, happened, bins=10):
    """A curve of calibration: rows of what was said and how often it happened.

    Args:
      said: float ``[n]``, probabilities. happened: bool ``[n]``. bins: of equal numbers of steps, by what was said;
        ends are rare, and of equal widths all but one bin would be empty.

    Returns:
      A list of dicts said, happened (means of a bin), count; in order of what was said.
    """
    return amounts(*_checked(said, happened), bins)


def amounts(said, happened, bins=10):
    """As ``reliability``, of amounts: what was expected, and what it was in the mean; float ``[n]`` each."""
    said, happened = np.asarray(said, np.float64), np.asarray(happened, np.float64)
    order = np.argsort(said, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [
        {"said": float(said[part].mean()), "happened": float(happened[part].mean()), "count": len(part)}
        for part in parts
    ]


def calibration_error(said, happened, bins=10):
    """Expected calibration error: the mean of |said - happened| over the steps of ``reliability``'s bins."""
    rows = reliability(said, happened, bins)
    total = sum(row["count"] for row in rows)
    return sum(row["count"] * abs(row["said"] - row["happened"]) for row in rows) / total


def relative_error(rows):
    """How far the rows of ``amounts`` are off: the mean of |said - happened| over that of what happened."""
    off = sum(row["count"] * abs(row["said"] - row["happened"]) for row in rows)
    return off / sum(row["count"] * row["happened"] for row in rows)


def brier(said, happened):
    """Brier's score: the mean of (said - happened)^2; always saying the frequency p gives p (1 - p)."""
    said, happened = _checked(said, happened)
    return float(np.mean((said - happened) ** 2))


def _checked(said, happened):
    said, happened = np.asarray(said, np.float64), np.asarray(happened, np.float64)
    if said.ndim != 1 or said.shape != happened.shape or not said.size:
        raise ValueError(f"said and happened must be pairs, got {said.shape} and {happened.shape}")
    if not ((said >= 0) & (said <= 1)).all():
        raise ValueError("a probability is not within 0..1")
    return said, happened
