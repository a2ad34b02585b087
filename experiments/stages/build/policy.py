"""The policy from a configuration, and its published weights."""

import functools

from experiments.run.config_file import UsageError
from experiments.stages.build.environment import spec_of
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.models.policies.vpt_policy import VPTNetwork, VPTPolicy, named_size, vpt_size
from prowl_jax.models.published.vpt_weights import load_policy


def make_policy(config):
    """The configured policy: a small ``Policy``, or the ``VPTPolicy`` whose weights are given."""
    r = config.reference
    if r.weights and config.dry_run:
        return VPTPolicy(VPTNetwork(**vpt_size(named_size(r.weights))))
    if r.weights:
        return load_vpt(r.weights)[0]
    return Policy(PolicyNetwork(spec_of(config).sizes, r.features, r.memory, r.hidden))


def vpt_params(config):
    """Parameters of the VPT policy in ``reference.weights``, as numpy arrays."""
    return load_vpt(config.reference.weights)[1]


@functools.cache
def load_vpt(path):
    try:
        return load_policy(path)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(str(error)) from None
