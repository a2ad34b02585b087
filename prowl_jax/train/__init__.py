"""Supervised steps that take a loss, PPO, checkpoints and meshes."""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax.train import autoencoder, behaviour, inverse_dynamics, lora, sharding, world_model
    from prowl_jax.train.adversary import Adversary
    from prowl_jax.train.checkpoint import CheckpointError, Checkpoints
    from prowl_jax.train.compilation_cache import enable_compilation_cache, forget_programs
    from prowl_jax.train.mesh import MeshSettings, make_mesh, place_batch, replicate
    from prowl_jax.train.state import (
        Optimizer,
        TrainState,
        Training,
        apply_gradients,
        count,
        init_state,
        make_optimizer,
        make_step,
    )

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
