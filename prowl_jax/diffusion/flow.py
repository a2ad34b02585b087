"""Flow matching between data (sigma = 0) and noise (sigma = 1): straight lines and their velocity.

Convention of Wan2.1 and of PROWL section 3: ``z_sigma = (1 - sigma) z + sigma eps`` and the
model predicts ``v = eps - z``, the derivative of ``z_sigma`` with respect to ``sigma``.
"""

import jax.numpy as jnp


def interpolate(z, noise, sigma):
    """``(1 - sigma) z + sigma noise``; ``sigma`` broadcasts against ``z``."""
    return (1.0 - sigma) * z + sigma * noise


def velocity_target(z, noise):
    """What the model should predict, ``noise - z``, the same at every sigma."""
    return noise - z


def denoised(z_sigma, velocity, sigma):
    """The data a velocity points back to: ``z_sigma - sigma v`` (DiffusionNFT's x0)."""
    return z_sigma - sigma * velocity


def shift_sigma(sigma, shift):
    """Wan's map ``s' = shift s / (1 + (shift - 1) s)``; more time at high noise for shift > 1.

    Any shape, values in [0, 1] -> the same shape, in [0, 1]. 0 and 1 stay where they are.
    """
    return shift * sigma / (1.0 + (shift - 1.0) * sigma)


def sigma_schedule(steps, shift=1.0):
    """The noise levels of an Euler sampler: ``[steps + 1]``, from 1 down to 0.

    ``linspace(1, 0, steps + 1)`` and then the shift, as in official Wan: 4 steps at shift 5
    give 1, .9375, .8333, .625, 0. (diffusers' scheduler class shifts its last level twice.)
    """
    if steps < 1:
        raise ValueError(f"a sampler needs at least one step, not {steps}")
    return shift_sigma(jnp.linspace(1.0, 0.0, steps + 1), shift)
