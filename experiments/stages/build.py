"""From a configuration to objects: the last place that knows ``ConfigDict``."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np

from experiments.run.config_file import UsageError
from prowl_jax import minecraft
from prowl_jax.diffusion.forcing import Forcing
from prowl_jax.envs import voxel
from prowl_jax.envs.device import DeviceVectorEnv
from prowl_jax.envs.minerl import make_minerl
from prowl_jax.envs.vizdoom import action_spec, make_vizdoom
from prowl_jax.metrics.lpips import check_size
from prowl_jax.metrics.modes import ModeRule
from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.models.autoencoders.wan import WanVAE, WanVAENetwork
from prowl_jax.models.dit import action_text
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.dit.sizes import dit_size
from prowl_jax.models.inverse_dynamics import InverseDynamics, InverseDynamicsNetwork
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.models.policies.vpt_policy import VPTNetwork, VPTPolicy, named_size, vpt_size
from prowl_jax.models.published import lpips_weights, sea_raft_weights, wan_dit_weights, wan_vae_weights
from prowl_jax.models.published.vpt_weights import load_policy
from prowl_jax.models.world_model import WorldModel
from prowl_jax.pat.buffer import Scoring
from prowl_jax.pat.priority import Priority
from prowl_jax.pat.rescoring import Rescoring
from prowl_jax.rl.ppo import PPOConfig
from prowl_jax.train.adversary import Adversary
from prowl_jax.train.curriculum import Curriculum
from prowl_jax.train.disagreement import Ensemble
from prowl_jax.train.lora import split_low_rank
from prowl_jax.train.mesh import make_mesh
from prowl_jax.train.world_model import split_trainable


def spec_of(config):
    """The ``ActionSpec`` of the configured environment."""
    if config.env.name in ("minerl", "recordings"):
        return minecraft.SPEC
    if config.env.name == "voxel":
        return voxel.SPEC
    return action_spec(config.env.max_turn_degrees)


def frame_shape(config):
    """(H, W, 3)."""
    return (config.env.frame_height, config.env.frame_width, 3)


def data_seed(config):
    """The seed of the demonstrations, of what is held out of them, and of the voxel worlds."""
    own = config.demonstrations.seed
    return config.seed if own < 0 else own


def make_env(config, task, num_envs=None):
    """A ``HostEnv`` of ``task`` with the configured frames and workers."""
    env = config.env
    if env.name == "minerl":
        return make_minerl(
            task,
            num_envs or env.num_envs,
            python=env.minerl.python,
            make=env.minerl.make,
            frame_size=frame_shape(config)[:2],
            episode_steps=env.minerl.episode_steps or None,
        )
    if env.name == "voxel":
        return DeviceVectorEnv(make_device_env(config, task), num_envs or env.num_envs)
    return make_vizdoom(
        task,
        num_envs or env.num_envs,
        workers=env.workers,
        frame_size=frame_shape(config)[:2],
        frame_skip=env.frame_skip,
        max_turn_degrees=env.max_turn_degrees,
        restarts=env.restarts,
    )


def make_device_env(config, task):
    """The ``DeviceEnv`` of ``task``, where the environment is one (``env.name=voxel``)."""
    return voxel.make_world(task, **_voxel_settings(config))


def record_voxel(config, task, episodes, seed, on_progress):
    """Episodes of a voxel task's demonstrator: yields (frames, actions)."""
    settings = _voxel_settings(config)
    return voxel.record(
        task, config.demonstrations.episode_frames, episodes, seed, on_progress,
        num_envs=config.env.num_envs, world_seed=settings.pop("seed"), **settings,
    )  # fmt: skip


def _voxel_settings(config):
    v = config.env.voxel
    return {
        "worlds": v.worlds, "seed": data_seed(config), "frame_size": frame_shape(config)[:2], "episode_steps": v.episode_steps,
    }  # fmt: skip


def make_autoencoder(config):
    """The configured autoencoder: an ``Autoencoder``, or the ``WanVAE`` whose weights are given."""
    a = config.autoencoder
    if a.kind == "wan":
        return _wan_network(config) if config.dry_run or a.weights == "random" else _wan_autoencoder(config)[0]
    return Autoencoder(channels=a.channels, widths=tuple(a.widths), blocks=a.blocks)


def wan_autoencoder_params(config):
    """Parameters of Wan's autoencoder: those of ``autoencoder.weights``, or random ones."""
    if config.autoencoder.weights == "random":
        return jax.jit(make_autoencoder(config).init_params)(stage_key(config, "autoencoder init"))
    return _wan_autoencoder(config)[1]


def _wan_network(config):
    """The ``WanVAE`` of the configured sizes. Random weights have no published statistics."""
    a = config.autoencoder
    multiples = tuple(width // a.widths[0] for width in a.widths)
    network = WanVAENetwork(a.channels, a.widths[0], multiples, a.blocks)
    if network == WanVAENetwork() and a.weights != "random":
        return WanVAE(network)
    return WanVAE(network, (0.0,) * a.channels, (1.0,) * a.channels)


def _wan_autoencoder(config):
    """(``WanVAE``, params) of ``autoencoder.weights``; UsageError where their sizes are not the configured ones."""
    a = config.autoencoder
    try:
        model, params = _load_wan_autoencoder(a.weights)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(str(error)) from None
    theirs = model.network
    if theirs != _wan_network(config).network:
        widths = tuple(theirs.base * multiple for multiple in theirs.multiples)
        raise UsageError(
            f"autoencoder.weights={a.weights} has autoencoder.channels={theirs.channels}, "
            f"autoencoder.widths={widths} and autoencoder.blocks={theirs.blocks}; set these, "
            f"not {a.channels}, {tuple(a.widths)} and {a.blocks}"
        )
    return model, params


_load_wan_autoencoder = functools.cache(wan_vae_weights.load)


def make_world_model(config):
    """The configured ``WorldModel``."""
    w = config.world_model
    text, autoencoder = _action_text(config), make_autoencoder(config)
    dit = DiT(
        channels=autoencoder.channels,
        action_frames=autoencoder.frames_per_latent,
        action_sizes=spec_of(config).sizes,
        patch=w.patch,
        chunk=w.chunk,
        attention=w.attention,
        action_modulation=w.action_modulation,
        rope_base=w.rope_base,
        dtype=jnp.dtype(w.dtype),
        remat=w.remat,
        text_width=text.width if text else 0,
        **dit_size(w.size),
    )
    return WorldModel(dit, autoencoder, w.sampler_steps, w.sampler_shift, w.cache, action_text=text)


def load_dit(config, key, place):
    """Parameters of the DiT in ``world_model.weights``, each array as ``place(path, array)`` made it."""
    return wan_dit_weights.load(config.world_model.weights, make_world_model(config).dit, key, place)


def _action_text(config):
    path, spec = config.world_model.action_text, spec_of(config)
    if not path:
        return None
    return _blank_action_text(spec) if config.dry_run else _load_action_text(path, spec)


@functools.cache
def _blank_action_text(spec):
    """A table as wide as UMT5's, for a dry run."""
    return action_text.ActionText(spec.sizes, np.zeros((sum(spec.sizes), action_text.UMT5_WIDTH), np.float32))


@functools.cache  # the same table for every model, so that what is compiled for one serves the next
def _load_action_text(path, spec):
    try:
        return action_text.load(path, spec)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(str(error)) from None


def split_phase2(config, dit_params):
    """(what phase 2 trains of the DiT, the rest), both nested dicts; ``state.merge`` makes one of them."""
    if config.phase2.trainable == "lora":
        return split_low_rank(dit_params, stage_key(config, "lora"), config.phase2.lora_rank)
    return split_trainable(dit_params)


def make_forcing(config):
    """How phase 1 and phase 2 draw noise levels."""
    w = config.world_model
    return Forcing(chunk=w.chunk, shift=w.shift, clean_prefix=w.clean_prefix)


def shortest_episode(config):
    """Frames that an episode must have for every stage to find a clip in it."""
    w, e, model = config.world_model, config.evaluation, make_world_model(config)
    context = w.window - w.chunk
    latents = [w.window, context + max(e.horizon, e.long_horizon)]
    if model.stride > 1:
        latents.append(context + config.phase2.horizon)  # demonstrations are encoded in clips as long as a trajectory
    asked = [model.frames_of(max(latents)), config.reference.clip]
    return max(asked + [config.inverse_dynamics.clip] * (config.inverse_dynamics.steps > 0))


def arms(config):
    """The configured arms of phase 2; none where there are only recordings and no live environment."""
    return () if config.env.name == "recordings" else tuple(config.arms)


def check_device(config):
    """UsageError of one line where the configuration wants a device that is not there."""
    if config.world_model.attention == "cudnn" and jax.default_backend() != "gpu":
        raise UsageError("world_model.attention=cudnn wants a GPU, and JAX sees none; take einsum or xla")


def check_files(config):
    """UsageError of one line where a file or folder that the configuration names is not there."""
    for key in ("demonstrations.source", "evaluation.action_prior"):
        group, name = key.split(".")
        path = config[group][name]
        if path and not os.path.exists(path):
            raise UsageError(f"{key}={path} is not there; name a folder of recordings")
    if config.reference.weights:
        _load_vpt(config.reference.weights)
    if config.autoencoder.kind == "wan":
        make_autoencoder(config)
    if config.world_model.weights:
        _check_dit_weights(config)
    if config.metrics.flow == "sea_raft":
        _load_sea_raft(config.metrics.flow_weights)
    if config.metrics.lpips_weights:
        load_lpips(config)
    if config.world_model.action_text:
        _load_action_text(config.world_model.action_text, spec_of(config))


def _check_dit_weights(config):
    w = config.world_model
    try:
        wan_dit_weights.check(w.weights, make_world_model(config).dit)
    except FileNotFoundError as error:
        raise UsageError(f"world_model.weights: {error}") from None
    except (OSError, ValueError, ImportError) as error:
        sizes = f"world_model.size={w.size}, world_model.patch={w.patch}, {config.autoencoder.channels} channels"
        raise UsageError(f"world_model.weights do not fit {sizes}: {error}") from None


def make_policy(config):
    """The configured policy: a small ``Policy``, or the ``VPTPolicy`` whose weights are given."""
    r = config.reference
    if r.weights and config.dry_run:
        return VPTPolicy(VPTNetwork(**vpt_size(named_size(r.weights))))
    if r.weights:
        return _load_vpt(r.weights)[0]
    return Policy(PolicyNetwork(spec_of(config).sizes, r.features, r.memory, r.hidden))


def vpt_params(config):
    """Parameters of the VPT policy in ``reference.weights``, as numpy arrays."""
    return _load_vpt(config.reference.weights)[1]


@functools.cache
def _load_vpt(path):
    try:
        return load_policy(path)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(str(error)) from None


def make_flow(config):
    """The optical flow of AFS-EPE: ``f(params, first, second)``, or None, the small one.

    Its weights are ``params["flow"]`` (``flow_params``), beside the world model's.
    """
    if config.metrics.flow == "small":
        return None
    sea_raft = sea_raft_weights.sea_raft("M") if config.dry_run else _load_sea_raft(config.metrics.flow_weights)[0]
    return lambda params, first, second: sea_raft.flow(params["flow"], first, second)


def flow_params(config):
    """What the flow adds to the world model's parameters: ``{"flow": weights}``, or nothing."""
    if config.metrics.flow == "small":
        return {}
    if config.dry_run:
        return {"flow": sea_raft_weights.sea_raft("M").init(jax.random.key(0))}
    return {"flow": _load_sea_raft(config.metrics.flow_weights)[1]}


@functools.cache
def _load_sea_raft(path):
    try:
        return sea_raft_weights.load(path)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(str(error)) from None


def load_lpips(config):
    """``(trunk, params)`` of the LPIPS weights in ``metrics.lpips_weights``, as numpy arrays."""
    try:
        trunk, params = _load_lpips(config.metrics.lpips_weights)
        check_size(trunk, *frame_shape(config)[:2])
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(str(error)) from None
    return trunk, params


_load_lpips = functools.cache(lpips_weights.load)


def make_mode_rule(config):
    """Where an action mode begins and ends; a window is no longer than what is scored of a trajectory."""
    m = config.evaluation.modes
    scored = config.phase2.horizon * make_autoencoder(config).frames_per_latent
    return ModeRule(min(m.window, scored), m.share, m.degrees)


def make_inverse_dynamics(config):
    """The configured ``InverseDynamics``."""
    i = config.inverse_dynamics
    return InverseDynamics(InverseDynamicsNetwork(spec_of(config).sizes, i.window, i.width, i.features, i.hidden))


def action_maps(config):
    """``(to_env, from_env)`` between the policy's actions and the environment's; None where they are the same.

    VPT draws joint indices (``minecraft.VPT_SPEC``); the world model is told factors.
    """
    if not config.reference.weights:
        return None, None
    return minecraft.joint_to_factors, minecraft.factors_to_joint


def make_curriculum(config):
    """Settings of the phase-2 loop; the context is one window less one chunk."""
    p, w = config.phase2, config.world_model
    return Curriculum(
        context=w.window - w.chunk,
        horizon=p.horizon,
        window=w.window,
        updates=p.updates,
        batch=p.batch,
        pat_share=p.pat_share,
        score_batch=min(p.trajectories, 32),
        ema_decay=p.ema_decay,
        scoring=Scoring(lambda_afs=p.lambda_afs, delta_scale=p.delta_scale),
        priority=Priority(p.priority, p.temperature, p.staleness),
        rescoring=Rescoring(p.rescore, p.rescore_age, p.rescore_rows),
    )


def make_adversary(config):
    """How the adversary learns."""
    a = config.adversary
    return Adversary(
        ppo=PPOConfig(a.clip, a.value_cost, a.entropy_cost, a.kl_cost),
        epochs=a.epochs,
        minibatches=a.minibatches,
        lambda_=a.lambda_,
        final_kl_cost=None if a.final_kl_cost < 0 else a.final_kl_cost,
        cycles=config.phase2.cycles,
        kl_bound=None if a.kl_bound < 0 else a.kl_bound,
    )


def make_ensemble(config):
    """The ensemble whose disagreement rewards the arm of that name."""
    e = config.adversary.ensemble
    sizes, channels = spec_of(config).sizes, config.autoencoder.channels
    height, width = (side // 8 for side in frame_shape(config)[:2])
    return Ensemble((height, width, channels), sizes, e.members, e.width, e.learning_rate)


def make_config_mesh(config):
    """The configured mesh over all devices of all processes."""
    return make_mesh(config.mesh.data, config.mesh.fsdp)


def check_mesh(config):
    """UsageError of one line where the devices that are there do not fit the mesh, or the batches the mesh."""
    try:
        devices = make_config_mesh(config).size
    except ValueError as error:
        raise UsageError(f"{error}; set mesh.data and mesh.fsdp, or mesh.data=-1") from None
    if arms(config) and config.phase2.program == "device" and jax.process_count() > 1:
        raise UsageError("phase2.program=device runs in one process; set phase2.program=host")
    rows = {f"{name}.batch": config[name].batch for name in ("autoencoder", "world_model", "reference")}
    if config.inverse_dynamics.steps:
        rows["inverse_dynamics.batch"] = config.inverse_dynamics.batch
    if config.reference.weights:
        del rows["reference.batch"]
    if arms(config):
        rows |= {f"phase2.{name}": config.phase2[name] for name in ("trajectories", "capacity", "batch")}
        rows["(1 - phase2.pat_share) * phase2.batch"] = make_curriculum(config).passive_rows
    misfits = [f"{key}={value}" for key, value in rows.items() if value % devices]
    if misfits:
        raise UsageError(f"{', '.join(misfits)} {'does' if len(misfits) == 1 else 'do'} not divide over {devices} devices")


def stage_key(config, name):
    """A key of its own for every stage, from the seed and the stage's name."""
    key = jax.random.key(config.seed)
    for byte in name.encode():
        key = jax.random.fold_in(key, byte)
    return key
