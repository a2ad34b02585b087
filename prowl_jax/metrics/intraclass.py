"""How much of a figure's variance is the group's own: the intraclass correlation.

Of trajectories that began in the same states, it is the share of their reward's variance that the state decides, which
no action can be praised or blamed for.
"""

import chex
import jax.numpy as jnp


def intraclass(values, size, valid=None):
    """Intraclass correlation of one-way random effects, ICC(1) (Shrout and Fleiss, Psych. Bulletin 1979, case 1).

        (MS_between - MS_within) / (MS_between + (k - 1) MS_within)

    Args:
      values: float ``[G size]``, group by group. size: k, at least 2.
      valid: bool ``[G size]``; groups with a member that is not are left out. None: all are.

    Returns:
      dict of float32 scalars: ``intraclass``, of expectation 0 where groups mean nothing and 1 where they are
      everything, down to -1 / (k - 1) by chance; ``between`` and ``within``, the two parts of the variance (``between``
      may be negative). All 0 with fewer than two groups, ``intraclass`` also where nothing varies.

    Raises:
      ValueError: groups of one.
    """
    if size < 2:
        raise ValueError(f"an intraclass correlation needs groups of at least 2, not {size}")
    valid = jnp.ones(values.shape, bool) if valid is None else valid
    chex.assert_equal_shape([values, valid])
    whole = valid.reshape(-1, size).all(1)
    groups = jnp.where(whole[:, None], values.reshape(-1, size), 0.0)
    count = whole.sum()
    means = groups.mean(1)
    mean = means.sum() / jnp.maximum(count, 1)
    within = jnp.sum(jnp.square(groups - means[:, None])) / jnp.maximum(count * (size - 1), 1)
    apart = size * jnp.sum(jnp.where(whole, jnp.square(means - mean), 0.0)) / jnp.maximum(count - 1, 1)
    total = apart + (size - 1) * within
    enough = count > 1
    share = jnp.where(total > 0, (apart - within) / jnp.where(total > 0, total, 1.0), 0.0)
    found = {"intraclass": share, "between": (apart - within) / size, "within": within}
    return {name: jnp.where(enough, value, 0.0).astype(jnp.float32) for name, value in found.items()}
