"""How a policy acts, in figures that can be laid beside a person's: what a KL penalty should keep alike."""

import numpy as np


def action_statistics(spec, actions, episodes=None):
    """Frequencies and camera motion of recorded actions.

    Args:
      spec: the ``ActionSpec``.
      actions: int ``[F, A]``, of episodes end to end, F at least 1.
      episodes: their lengths, ints that add up to F; one episode by default.

    Returns:
      A JSON-able dict: ``steps`` F; ``frequencies``, factor name -> list of the share of each of its
      values; ``used``, factor name -> share of steps in which it does something; ``null``, share of
      steps in which nothing is done at all; ``camera_speed``, mean of degrees a
      step, and ``camera_speed_p95``; ``camera_persistence``, factor name -> sum of the products of
      neighbouring steps' degrees over the sum of squares (1 turns on, 0 forgets, -1 shakes), None
      where the camera never moves.

    Raises:
      ValueError: no action, lengths that do not add up, or values out of range.
    """
    actions = spec.check(actions)
    episodes = np.asarray([len(actions)] if episodes is None else episodes)
    if actions.ndim != 2 or not len(actions) or episodes.sum() != len(actions):
        raise ValueError(f"{episodes.sum()} steps in episodes, but actions are {actions.shape}")
    frequencies = {
        factor.name: (np.bincount(column, minlength=factor.size) / len(column)).tolist()
        for factor, column in zip(spec.factors, actions.T, strict=True)
    }
    speed = spec.camera_speed(actions)
    inside = np.ones(len(actions), bool)
    inside[np.cumsum(episodes)[:-1]] = False  # an episode's first step follows no other
    persistence = {}
    for i in spec.camera_factors:
        degrees = spec.factors[i].camera.decode(actions[:, i])
        squares = np.square(degrees[:-1][inside[1:]]).sum()
        products = (degrees[1:] * degrees[:-1])[inside[1:]].sum()
        persistence[spec.factors[i].name] = float(products / squares) if squares else None
    return {
        "steps": len(actions),
        "frequencies": frequencies,
        "used": dict(zip(spec.names, (actions != spec.null).mean(0).tolist(), strict=True)),
        "null": float((actions == spec.null).all(1).mean()),
        "camera_speed": float(speed.mean()),
        "camera_speed_p95": float(np.percentile(speed, 95)),
        "camera_persistence": persistence,
    }


def total_variation(frequencies, others):
    """Total variation of each factor, half the sum of ``|p - q|``: name -> 0 (alike) to 1 (nothing shared)."""
    if {k: len(v) for k, v in frequencies.items()} != {k: len(v) for k, v in others.items()}:
        raise ValueError(f"other factors: {', '.join(frequencies)} and {', '.join(others)}")
    return {name: 0.5 * float(np.abs(np.subtract(p, others[name])).sum()) for name, p in frequencies.items()}
