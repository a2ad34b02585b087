"""Networks (Flax): world models behind one interface, autoencoders, policies, and published weights of others."""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax.models import published as published
    from prowl_jax.models.autoencoders.pixels import Pixels as Pixels
    from prowl_jax.models.autoencoders.small import Autoencoder as Autoencoder
    from prowl_jax.models.autoencoders.wan import WanVAE as WanVAE
    from prowl_jax.models.dit.dit import DiT as DiT
    from prowl_jax.models.dit.sizes import dit_size as dit_size
    from prowl_jax.models.flow.sea_raft import SeaRaft as SeaRaft
    from prowl_jax.models.frame_space import FrameSpace as FrameSpace
    from prowl_jax.models.inverse_dynamics import InverseDynamics as InverseDynamics
    from prowl_jax.models.inverse_dynamics import InverseDynamicsNetwork as InverseDynamicsNetwork
    from prowl_jax.models.policies.small import Policy as Policy
    from prowl_jax.models.policies.small import PolicyNetwork as PolicyNetwork
    from prowl_jax.models.policies.vpt_idm import VPTInverseDynamics as VPTInverseDynamics
    from prowl_jax.models.policies.vpt_policy import VPTPolicy as VPTPolicy
    from prowl_jax.models.unet.unet import UNet as UNet
    from prowl_jax.models.unet.world_model import UNetWorldModel as UNetWorldModel
    from prowl_jax.models.world_model import WorldModel as WorldModel

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
