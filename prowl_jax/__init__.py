"""PROWL in JAX: an adversary that hunts, in the real environment, for what a world model gets wrong.

``prowl_jax.pat``, ``diffusion``, ``rl`` and ``metrics`` are pure functions of arrays; the other packages build a
world model, what it is trained on and what makes it better of them. A name is imported when it is first asked for, so
that environment workers start without JAX.
"""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax import (
        actions,
        data,
        diffusion,
        envs,
        methods,
        metrics,
        minecraft,
        models,
        pat,
        rewards,
        rl,
        settings,
        train,
        types,
        zoo,
    )
    from prowl_jax.actions import ActionSpec, Camera, Factor
    from prowl_jax.types import Batch, Clip, Dream, RealClip, Trajectory

__getattr__, __dir__, __all__ = lazily(__name__, __file__)

__version__ = "0.1.0"
