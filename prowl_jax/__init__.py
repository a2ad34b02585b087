"""PROWL in JAX: an adversary that hunts, in the real environment, for what a world model gets wrong.

``prowl_jax.pat``, ``diffusion``, ``rl`` and ``metrics`` are pure functions of arrays; the other packages build a
world model, what it is trained on and what makes it better of them. A name is imported when it is first asked for, so
that environment workers start without JAX.
"""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax import actions as actions
    from prowl_jax import data as data
    from prowl_jax import diffusion as diffusion
    from prowl_jax import envs as envs
    from prowl_jax import methods as methods
    from prowl_jax import metrics as metrics
    from prowl_jax import minecraft as minecraft
    from prowl_jax import models as models
    from prowl_jax import pat as pat
    from prowl_jax import rewards as rewards
    from prowl_jax import rl as rl
    from prowl_jax import settings as settings
    from prowl_jax import train as train
    from prowl_jax import types as types
    from prowl_jax import zoo as zoo
    from prowl_jax.actions import ActionSpec as ActionSpec
    from prowl_jax.actions import Camera as Camera
    from prowl_jax.actions import Factor as Factor
    from prowl_jax.types import Batch as Batch
    from prowl_jax.types import Clip as Clip
    from prowl_jax.types import Dream as Dream
    from prowl_jax.types import RealClip as RealClip
    from prowl_jax.types import Trajectory as Trajectory

__getattr__, __dir__, __all__ = lazily(__name__, __file__)

__version__ = "0.1.0"
