"""Is a predicted frame still recognisable? Whether it is nearer to its own real frame than to those of other clips."""

import numpy as np


def retrieved(predicted, real, candidates=16):
    """Which predictions find their own real frame among ``candidates``: it and those of the clips after it, in a ring.

    Chance is one in ``candidates``. Nearest is the lowest mean square difference; a tie is not found, so that a
    prediction that is the same for all clips finds none.

    Args:
      predicted: ``[B, ...]``, one a clip. real: the same shape; B at least ``candidates``, in an order that puts no
        clip beside others of its kind.

    Returns:
      bool ``[B]``.

    Raises:
      ValueError: shapes that differ, or too few clips.
    """
    predicted, real = (np.asarray(x, np.float32).reshape(len(x), -1) for x in (predicted, real))
    if predicted.shape != real.shape or len(real) < candidates:
        raise ValueError(f"{len(predicted)} predictions and {len(real)} real frames are no {candidates} or more pairs")
    own, *others = (np.mean(np.square(predicted - np.roll(real, -i, axis=0)), axis=1) for i in range(candidates))
    return np.all([own < other for other in others], axis=0)
