"""Reinforcement learning on factored actions: PPO with a KL anchor, groups of dreams. Pure functions."""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax.rl import categorical, gae, value_normaliser
    from prowl_jax.rl.branches import relative
    from prowl_jax.rl.group import clipped_loss, group_advantages
    from prowl_jax.rl.ppo import PPOConfig, annealed, masked_mean, ppo_loss

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
