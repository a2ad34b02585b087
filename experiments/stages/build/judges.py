"""What dreams are measured with, from a configuration: optical flow, LPIPS, action modes, inverse dynamics."""

import dataclasses
import functools

import jax

from experiments.run.config_file import UsageError
from experiments.stages.build.environment import frame_shape, spec_of
from experiments.stages.build.world_model import make_autoencoder
from prowl_jax.metrics.lpips import check_size
from prowl_jax.metrics.modes import ModeRule
from prowl_jax.metrics.optical_flow import small_flow
from prowl_jax.minecraft import CAMERA
from prowl_jax.models.inverse_dynamics import InverseDynamics, InverseDynamicsNetwork
from prowl_jax.models.policies.vpt_idm import IDMNetwork, MinecraftJudge, VPTInverseDynamics, idm_size
from prowl_jax.models.published import lpips_weights, sea_raft_weights
from prowl_jax.models.published.vpt_weights import load_inverse_dynamics
from prowl_jax.settings import one_of, read, setting


@dataclasses.dataclass(frozen=True)
class MetricsSettings:
    """Networks that dreams are measured with."""

    flow: str = setting("small", "of AFS-EPE; or sea_raft", one_of(("small", "sea_raft")), source="paper: sea_raft")
    flow_weights: str = setting("", "what python -m experiments.convert sea_raft wrote")
    lpips_weights: str = setting("", "what python -m experiments.convert lpips wrote; empty: no LPIPS")
    frechet: str = setting(
        "", "network of a Frechet distance: inverse_dynamics or lpips_trunk; empty: none",
        one_of(("inverse_dynamics", "lpips_trunk"), empty="no Frechet distance"),
    )  # fmt: skip


def make_flow(config):
    """The optical flow of AFS-EPE, ``f(params, first, second)``, see ``rewards.dream``.

    Its weights are ``params["flow"]`` (``flow_params``), beside the world model's; the small one has none.
    """
    if config.metrics.flow == "small":
        return small_flow
    sea_raft = sea_raft_weights.sea_raft("M") if config.dry_run else load_flow(config.metrics.flow_weights)[0]
    return lambda params, first, second: sea_raft.flow(params["flow"], first, second)


def flow_params(config):
    """What the flow adds to the world model's parameters: ``{"flow": weights}``, or nothing."""
    if config.metrics.flow == "small":
        return {}
    if config.dry_run:
        return {"flow": sea_raft_weights.sea_raft("M").init(jax.random.key(0))}
    return {"flow": load_flow(config.metrics.flow_weights)[1]}


@functools.cache
def load_flow(path):
    try:
        return sea_raft_weights.load_sea_raft(path)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(str(error)) from None


@functools.cache
def load_judge(path):
    """``(VPTInverseDynamics, params)`` of a file; UsageError of one line where it is none or not Minecraft's."""
    try:
        model, params = load_inverse_dynamics(path)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"inverse_dynamics.weights: {error}") from None
    if model.network.bins != CAMERA.bins:
        raise UsageError(
            f"inverse_dynamics.weights={path} has {model.network.bins} bins a camera axis; Minecraft's actions have "
            f"{CAMERA.bins}"
        )
    return model, params


def load_lpips(config):
    """``(trunk, params)`` of the LPIPS weights in ``metrics.lpips_weights``, as numpy arrays."""
    try:
        trunk, params = _load_lpips(config.metrics.lpips_weights)
        check_size(trunk, *frame_shape(config)[:2])
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(str(error)) from None
    return trunk, params


_load_lpips = functools.cache(lpips_weights.load_lpips)


def make_mode_rule(config):
    """Where an action mode begins and ends; a window is no longer than what is scored of a trajectory."""
    modes = config.evaluation.modes
    scored = config.phase2.horizon * make_autoencoder(config).frames_per_latent
    return read(ModeRule, modes, window=min(modes.window, scored))


def make_inverse_dynamics(config):
    """The configured ``InverseDynamics``, or VPT's model, told in Minecraft's factors, where its weights are named."""
    if config.inverse_dynamics.weights:
        if config.dry_run:
            return MinecraftJudge(VPTInverseDynamics(IDMNetwork(**idm_size("4x"))))
        return MinecraftJudge(load_judge(config.inverse_dynamics.weights)[0])
    return InverseDynamics(read(InverseDynamicsNetwork, config.inverse_dynamics, sizes=spec_of(config).sizes))
