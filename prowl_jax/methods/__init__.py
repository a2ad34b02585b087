"""Methods that make a world model better after phase 1, one a file behind one contract (``base.Method``)."""

from prowl_jax.methods.best_of_n import BestOfN
from prowl_jax.methods.fine_tune import FineTune
from prowl_jax.methods.grpo import GRPO
from prowl_jax.methods.hunted import HuntedGRPO, HuntedNFT
from prowl_jax.methods.nft import NFT
from prowl_jax.methods.prowl import Prowl

METHODS = {
    "prowl": Prowl,
    "fine_tune": FineTune,
    "best_of_n": BestOfN,
    "nft": NFT,
    "grpo": GRPO,
    "prowl_nft": HuntedNFT,
    "prowl_grpo": HuntedGRPO,
}
"""name -> ``Method``, made as ``METHODS[name](config, shared)``."""

__all__ = ["GRPO", "METHODS", "NFT", "BestOfN", "FineTune", "HuntedGRPO", "HuntedNFT", "Prowl"]
