"""Supervised steps that take a loss, PPO, checkpoints and meshes."""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax.train import autoencoder as autoencoder
    from prowl_jax.train import behaviour as behaviour
    from prowl_jax.train import inverse_dynamics as inverse_dynamics
    from prowl_jax.train import lora as lora
    from prowl_jax.train import sharding as sharding
    from prowl_jax.train import world_model as world_model
    from prowl_jax.train.adversary import Adversary as Adversary
    from prowl_jax.train.checkpoint import CheckpointError as CheckpointError
    from prowl_jax.train.checkpoint import Checkpoints as Checkpoints
    from prowl_jax.train.compilation_cache import enable_compilation_cache as enable_compilation_cache
    from prowl_jax.train.compilation_cache import forget_programs as forget_programs
    from prowl_jax.train.mesh import MeshSettings as MeshSettings
    from prowl_jax.train.mesh import make_mesh as make_mesh
    from prowl_jax.train.mesh import place_batch as place_batch
    from prowl_jax.train.mesh import replicate as replicate
    from prowl_jax.train.state import Optimizer as Optimizer
    from prowl_jax.train.state import Training as Training
    from prowl_jax.train.state import TrainState as TrainState
    from prowl_jax.train.state import apply_gradients as apply_gradients
    from prowl_jax.train.state import count as count
    from prowl_jax.train.state import init_state as init_state
    from prowl_jax.train.state import make_optimizer as make_optimizer
    from prowl_jax.train.state import make_step as make_step

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
