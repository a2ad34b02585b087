"""VPT's value normaliser: a value head predicts (target - mean) / deviation of what it is trained on.

The moments are exponentially weighted averages that start at 0, divided by the sum of their weights
(the public code of VPT, openai/Video-Pre-Training, MIT, ``lib/normalize_ewma.py``). ``statistics`` is a
dict of float arrays: running_mean ``[1]``, running_mean_sq ``[1]``, debiasing_term ``[]``.
"""

import jax.numpy as jnp

DECAY = 0.99999
_LEAST_WEIGHT, _LEAST_VARIANCE = 1e-5, 1e-2


def moments(statistics):
    """Mean and standard deviation, ``[1]`` each; the deviation is 0.1 at least."""
    weight = jnp.maximum(statistics["debiasing_term"], _LEAST_WEIGHT)
    mean = statistics["running_mean"] / weight
    variance = statistics["running_mean_sq"] / weight - jnp.square(mean)
    return mean, jnp.sqrt(jnp.maximum(variance, _LEAST_VARIANCE))


def normalise(statistics, value):
    """From the scale of the returns to the scale of the head, any shape."""
    mean, deviation = moments(statistics)
    return (value - mean) / deviation


def denormalise(statistics, value):
    """From the scale of the head to the scale of the returns, any shape."""
    mean, deviation = moments(statistics)
    return value * deviation + mean


def update(statistics, target):
    """The statistics after one training step on returns ``target``, any shape."""
    new = {
        "running_mean": jnp.mean(target),
        "running_mean_sq": jnp.mean(jnp.square(target)),
        "debiasing_term": 1.0,
    }
    return {name: DECAY * old + (1.0 - DECAY) * new[name] for name, old in statistics.items()}
