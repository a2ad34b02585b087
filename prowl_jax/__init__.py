"""PROWL in JAX: an adversary that hunts, in the real environment, for what a world model gets wrong.

Import what you need: ``prowl_jax.pat``, ``prowl_jax.diffusion``, ``prowl_jax.rl`` and
``prowl_jax.metrics`` are pure functions of arrays; nothing is imported here, so that
environment workers start without JAX.
"""

__version__ = "0.1.0"
