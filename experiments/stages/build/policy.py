"""The policy from a configuration, and its published weights."""

import dataclasses
import functools

from experiments.run.config_file import UsageError
from experiments.stages.build.environment import spec_of
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.models.policies.vpt_policy import VPTNetwork, VPTPolicy, named_size, vpt_size
from prowl_jax.models.published.vpt_weights import load_policy
from prowl_jax.settings import COUNT, read, setting


@dataclasses.dataclass(frozen=True)
class ReferenceSettings:
    """The reference policy pi_ref, cloned from the demonstrations unless it is VPT."""

    weights: str = setting("", "of a VPT policy, for Minecraft; empty: clone a small network", source="paper: VPT 2x")
    of_base: bool = setting(True, "the policy that base brings, where it does; False: clone this run's demonstrations")
    clip: int = setting(16, "frames of a clip that is cloned", COUNT)


def make_policy(config):
    """The configured policy: a small ``Policy``, or the ``VPTPolicy`` whose weights are given."""
    r = config.reference
    if r.weights and config.dry_run:
        return VPTPolicy(VPTNetwork(**vpt_size(named_size(r.weights))))
    if r.weights:
        return load_vpt(r.weights)[0]
    return Policy(read(PolicyNetwork, r, sizes=spec_of(config).sizes))


def vpt_params(config):
    """Parameters of the VPT policy in ``reference.weights``, as numpy arrays."""
    return load_vpt(config.reference.weights)[1]


@functools.cache
def load_vpt(path):
    try:
        return load_policy(path)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(str(error)) from None
