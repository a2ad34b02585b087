"""Reinforcement learning on factored actions: PPO with a KL anchor, groups of dreams. Pure functions."""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax.rl import categorical as categorical
    from prowl_jax.rl import gae as gae
    from prowl_jax.rl import value_normaliser as value_normaliser
    from prowl_jax.rl.branches import relative as relative
    from prowl_jax.rl.group import clipped_loss as clipped_loss
    from prowl_jax.rl.group import group_advantages as group_advantages
    from prowl_jax.rl.ppo import PPOConfig as PPOConfig
    from prowl_jax.rl.ppo import annealed as annealed
    from prowl_jax.rl.ppo import masked_mean as masked_mean
    from prowl_jax.rl.ppo import ppo_loss as ppo_loss

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
