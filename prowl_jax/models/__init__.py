"""Networks (Flax): world models behind one interface, autoencoders, policies, and published weights of others."""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax.models import published
    from prowl_jax.models.autoencoders.pixels import Pixels
    from prowl_jax.models.autoencoders.small import Autoencoder
    from prowl_jax.models.autoencoders.wan import WanVAE
    from prowl_jax.models.dit.dit import DiT
    from prowl_jax.models.dit.sizes import dit_size
    from prowl_jax.models.flow.sea_raft import SeaRaft
    from prowl_jax.models.frame_space import FrameSpace
    from prowl_jax.models.inverse_dynamics import InverseDynamics, InverseDynamicsNetwork
    from prowl_jax.models.policies.small import Policy, PolicyNetwork
    from prowl_jax.models.policies.vpt_idm import VPTInverseDynamics
    from prowl_jax.models.policies.vpt_policy import VPTPolicy
    from prowl_jax.models.unet.unet import UNet
    from prowl_jax.models.unet.world_model import UNetWorldModel
    from prowl_jax.models.world_model import WorldModel

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
