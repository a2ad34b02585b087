"""The stages before phase 2, each skipped when done: demonstrations, autoencoder, world model, reference."""

import contextlib
import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from experiments import build, latent_clips, processes
from experiments.config_file import UsageError
from experiments.logging import Progress
from experiments.run import write_numpy
from experiments.training_loop import restore_state, shapes, train
from prowl_jax.data.feeder import batch_starts
from prowl_jax.data.importer import import_recordings
from prowl_jax.data.recordings import Settings
from prowl_jax.data.store import ClipStore, StoreWriter
from prowl_jax.envs.demonstrators import record
from prowl_jax.metrics.image import psnr
from prowl_jax.train import autoencoder as autoencoder_training
from prowl_jax.train import behaviour
from prowl_jax.train import world_model as world_model_training
from prowl_jax.train.mesh import local_copy, put
from prowl_jax.train.sharding import DIT_RULES
from prowl_jax.train.state import count, init_state, make_optimizer
from prowl_jax.types import Batch

ENCODE_BATCH = 128


def tasks(config):
    """The training task and the held-out ones."""
    return (config.env.task, *config.env.held_out_tasks)


def open_store(run, task=None):
    """The clip store of ``task``, checked against the configured actions; UsageError where it is damaged."""
    try:
        return ClipStore.open(run.data(task or run.config.env.task), build.spec_of(run.config))
    except (ValueError, OSError) as error:
        raise UsageError(f"{error}; {_BEGIN_ANEW}") from None


_BEGIN_ANEW = "put it back as it was, or begin anew in another --workdir"


def verify_stores(run):
    """Read the clip stores that are there and hold them against their checksums; UsageError names what changed."""
    for task in tasks(run.config):
        if run.config.demonstrations.verify and run.data(task).exists():
            try:
                open_store(run, task).verify()
            except ValueError as error:
                raise UsageError(f"{error}; {_BEGIN_ANEW}") from None


def clip_starts(store, episodes, length, key):
    """``store.starts``; says how many episodes are too short, and UsageError names ``key`` where all are."""
    short = int((store.lengths[episodes] < length).sum())
    if short == len(episodes):
        raise UsageError(f"all {short} training episodes of {store.path} are shorter than {key}={length}; lower it")
    if short:
        print(f"{store.path}: {short} of {len(episodes)} episodes are shorter than {key}={length}: no clips of them")
    return store.starts(episodes, length)


def split(run, store):
    """(training episodes, held-out episodes) of the training task."""
    return store.split(run.config.demonstrations.held_out_fraction, build.data_seed(run.config))


def demonstrations(run):
    """Clip stores of every task: the scripted demonstrators' episodes, or recordings of people."""
    config, d = run.config, run.config.demonstrations
    frames = {}
    for i, task in enumerate(tasks(config)):
        if run.data(task).exists():
            frames[task] = len(open_store(run, task))
            continue
        if d.source:
            frames[task] = _import(run, task)
            continue
        episodes = d.episodes if task == config.env.task else d.held_out_task_episodes
        with (
            StoreWriter(run.data(task), build.spec_of(config), build.frame_shape(config)) as writer,
            Progress(f"demonstrations {task}", episodes * d.episode_frames) as progress,
        ):
            for clip in _record(config, task, episodes, 1000 * build.data_seed(config) + i, progress.update):
                writer.add_episode(*clip)
        frames[task] = len(open_store(run, task))
    return {"frames": sum(frames.values())}


def _record(config, task, episodes, seed, on_progress):
    """Yield the scripted demonstrator's episodes, (frames, actions)."""
    if config.env.name == "voxel":
        yield from build.record_voxel(config, task, episodes, seed, on_progress)
        return
    with contextlib.closing(build.make_env(config, task)) as env:
        length = config.demonstrations.episode_frames
        yield from record(env, task, length, episodes, seed=seed, on_progress=on_progress)


def _import(run, task):
    """Read the recordings of ``demonstrations.source`` into the clip store of ``task``; returns its frames."""
    config, d = run.config, run.config.demonstrations
    settings = Settings(
        size=build.frame_shape(config)[:2], min_frames=build.shortest_episode(config), max_frames=d.episode_frames
    )
    with contextlib.ExitStack() as stack:
        progress = None

        def show(done, total, frames):
            nonlocal progress
            progress = progress or stack.enter_context(Progress("recordings", total))
            progress.update(done, **({"frames": frames} if frames else {}))

        try:
            summary = import_recordings(d.source, run.data(task), settings, on_progress=show)
        except (ValueError, OSError, ImportError) as error:
            raise UsageError(f"demonstrations.source={d.source}: {error}") from None
    for name, reason in summary.skipped:
        print(f"skipped {name}: {reason}")
    print(f"read: {summary.episodes} episodes, {summary.frames} frames; skipped: {len(summary.skipped)} files")
    if summary.episodes < 2:
        shutil.rmtree(run.data(task))
        raise UsageError(
            f"demonstrations.source={d.source} gave {summary.episodes} episode of at most "
            f"demonstrations.episode_frames={d.episode_frames} frames; at least two are needed, one to hold out"
        )
    return summary.frames


def autoencoder(run):
    """Train the autoencoder, or take Wan's as it is; measure its PSNR on held-out frames, cache all latents."""
    config, a = run.config, run.config.autoencoder
    if a.kind == "wan":
        return _wan_autoencoder(run) if processes.is_main() else {}
    store = open_store(run)
    train_episodes, held_out = split(run, store)
    starts = store.starts(train_episodes, 1)
    network = build.make_autoencoder(config)
    optimizer = make_optimizer(a.learning_rate, a.steps, warm_up=min(50, a.steps // 4))
    key = build.stage_key(config, "autoencoder")
    state = train(
        run,
        "autoencoder",
        lambda: init_state(_autoencoder_params(config), optimizer),
        autoencoder_training.make_train_step(network, optimizer, kl_weight=a.kl_weight, ema_decay=0.99),
        lambda step: store.frames[own_starts(config, step, starts, a.batch, in_order=True)],
        key,
        steps=a.steps,
        mesh=build.make_config_mesh(config),
    )
    if not processes.is_main():
        return {}
    params = {"autoencoder": local_copy(state.ema)}
    _cache_latents(run, params, train_episodes)

    world_model, params = build.make_world_model(config), load_autoencoder(run)
    held_out_starts = store.starts(held_out, 1)
    sample = held_out_starts[:: max(1, len(held_out_starts) // 512)][:512]
    frames, latents = store.frames[sample], store.array("latents")[sample]
    decoded = jax.jit(world_model.decode)(params, latents)
    value = jnp.mean(psnr(decoded, frames.astype(np.float32) / 255.0))
    return {"psnr_db": float(value), "parameters": count(state.params)}


def _wan_autoencoder(run):
    """Nothing to train: normalise by the published statistics, encode the demonstrations of every task."""
    config, store = run.config, open_store(run)
    train_episodes, held_out = split(run, store)
    params = {"autoencoder": build.wan_autoencoder_params(config)}
    mean, std = latent_clips.statistics(config, store, params, train_episodes)
    write_numpy(run.data("latent_statistics.npz"), np.savez, mean=mean, std=std)
    params |= {"latent_mean": mean, "latent_std": std}
    for task in tasks(config):
        latent_clips.add_latents(config, open_store(run, task), params, f"latents {task}")
    psnr_db = latent_clips.reconstruction_psnr(config, store, params, held_out)
    return {"psnr_db": psnr_db, "parameters": count(params["autoencoder"])}


def _autoencoder_params(config):
    key = build.stage_key(config, "autoencoder init")
    return build.make_autoencoder(config).init_params(key, build.frame_shape(config))


def _cache_latents(run, params, train_episodes):
    """Encode every frame once; normalise by the statistics of the training episodes."""
    config = run.config
    world_model = build.make_world_model(config)
    channels = config.autoencoder.channels
    identity = {"latent_mean": jnp.zeros(channels), "latent_std": jnp.ones(channels)}
    encode = jax.jit(world_model.encode)

    def encode_store(store, params, title):
        out = []
        with Progress(title, len(store)) as progress:
            for i in range(0, len(store), ENCODE_BATCH):
                frames = store.frames[i : i + ENCODE_BATCH]
                padding = ENCODE_BATCH - len(frames)  # one shape, one compilation
                frames = np.pad(frames, ((0, padding), (0, 0), (0, 0), (0, 0)))
                out.append(np.asarray(encode(params, frames))[: ENCODE_BATCH - padding])
                progress.update(min(i + ENCODE_BATCH, len(store)))
        return np.concatenate(out)

    store = open_store(run)
    raw = encode_store(store, {**params, **identity}, "latents")
    training_frames = store.starts(train_episodes, 1)
    mean, std = map(np.asarray, autoencoder_training.latent_statistics(raw[training_frames]))
    write_numpy(run.data("latent_statistics.npz"), np.savez, mean=mean, std=std)
    if not store.has_array("latents"):
        store.add_array("latents", (raw - mean) / std)
    for task in config.env.held_out_tasks:
        other = open_store(run, task)
        if not other.has_array("latents"):
            statistics = {"latent_mean": mean, "latent_std": std}
            other.add_array("latents", encode_store(other, {**params, **statistics}, f"latents {task}"))


def load_autoencoder(run):
    """``{"autoencoder", "latent_mean", "latent_std"}`` of the finished stage."""
    config = run.config
    if config.autoencoder.kind == "wan":
        params = build.wan_autoencoder_params(config)
    else:
        optimizer = make_optimizer(1.0, 1)
        example = shapes(lambda: init_state(_autoencoder_params(config), optimizer))
        params = restore_state(run, "autoencoder", example).ema
    statistics = np.load(run.data("latent_statistics.npz"))
    mean, std = jnp.asarray(statistics["mean"]), jnp.asarray(statistics["std"])
    return {"autoencoder": params, "latent_mean": mean, "latent_std": std}


def passive_starts(run, rows, length):
    """``f(step) -> int64``: where this process's part of ``rows`` clips begins, a pure function of the step."""
    store = open_store(run)
    starts = clip_starts(store, split(run, store)[0], length, "world_model.window")
    return lambda step: own_starts(run.config, step, starts, rows)


def passive_fetch(run, rows, length):
    """``f(step) -> Batch`` of this process's part of ``rows`` clips of ``length`` latents, a function of the step."""
    store = open_store(run)
    if build.make_autoencoder(run.config).frames_per_latent > 1:
        windows = latent_clips.Windows(run.config, store, split(run, store)[0], length)
        return lambda step: windows.fetch(own_starts(run.config, step, windows.choices, rows))
    starts = passive_starts(run, rows, length)
    latents = store.array("latents")

    def fetch(step):
        frames = starts(step)[:, None] + np.arange(length)
        return Batch(latents[frames], store.actions[frames])

    return fetch


def own_starts(config, step, starts, rows, in_order=False):
    """Where this process's clips of a step begin; ``in_order`` for a faster read of single frames."""
    all_starts = batch_starts(config.seed, step, starts, rows)
    return (np.sort(all_starts) if in_order else all_starts)[processes.own_rows(rows)]


def _init_dit(config):
    key = build.stage_key(config, "world model init")
    return build.make_world_model(config).init(key, build.frame_shape(config), config.world_model.window)["dit"]


def world_model_optimizer(config):
    """The optimiser of phase 1."""
    w = config.world_model
    return make_optimizer(
        w.learning_rate, w.steps, warm_up=w.warm_up, final=0.02, weight_decay=w.weight_decay
    )


def world_model(run):
    """Phase 1: diffusion forcing on the demonstrations."""
    config, w = run.config, run.config.world_model
    optimizer = world_model_optimizer(config)
    step_fn = world_model_training.make_train_step(
        build.make_world_model(config), build.make_forcing(config), optimizer, ema_decay=w.ema_decay
    )
    state = train(
        run,
        "world_model",
        lambda: init_state(_init_dit(config), optimizer),
        step_fn,
        passive_fetch(run, w.batch, w.window),
        build.stage_key(config, "world_model"),
        steps=w.steps,
        mesh=build.make_config_mesh(config),
        rules=DIT_RULES,
        pretrained=_pretrained(config, optimizer) if w.weights else None,
    )
    return {"parameters": count(state.params), "tokens": w.steps * w.batch * tokens_per_clip(config)}


def _pretrained(config, optimizer):
    """``f(placed) -> TrainState`` from ``world_model.weights``, laid as the shapes in ``placed`` say."""

    def load(placed):
        where = traverse_util.flatten_dict(jax.tree.map(lambda x: x.sharding, placed.params))
        key = build.stage_key(config, "world model init")
        params = build.load_dit(config, key, lambda path, array: put(array, where[path]))
        state = jax.jit(init_state, static_argnums=1, out_shardings=jax.tree.map(lambda x: x.sharding, placed))
        return state(params, optimizer)

    return load


def tokens_per_clip(config):
    """Tokens of one training window."""
    h, w = (s // 8 // config.world_model.patch for s in build.frame_shape(config)[:2])
    return config.world_model.window * h * w


def load_world_model(run):
    """theta_0: the whole world model of phase 1 (averaged parameters), and the optical flow's weights."""
    optimizer = world_model_optimizer(run.config)
    example = shapes(lambda: init_state(_init_dit(run.config), optimizer))
    dit = restore_state(run, "world_model", example).ema
    return {**load_autoencoder(run), **build.flow_params(run.config), "dit": dit}


def _init_policy(config):
    key = build.stage_key(config, "policy init")
    return build.make_policy(config).init(key, build.frame_shape(config))


def reference(run):
    """Clone the demonstrators of the training task; measure it on held-out episodes."""
    config, r = run.config, run.config.reference
    store = open_store(run)
    train_episodes, _ = split(run, store)
    starts = clip_starts(store, train_episodes, r.clip, "reference.clip")
    policy = build.make_policy(config)
    if r.weights:  # VPT was cloned from people already
        return _measure_reference(run, policy, load_reference(run), store) if processes.is_main() else {}
    optimizer = make_optimizer(r.learning_rate, r.steps, warm_up=min(50, r.steps // 4))
    state = train(
        run,
        "behaviour",
        lambda: init_state(_init_policy(config), optimizer),
        behaviour.make_train_step(policy, optimizer, ema_decay=0.99),
        lambda step: store.gather(own_starts(config, step, starts, r.batch), r.clip),
        build.stage_key(config, "behaviour"),
        steps=r.steps,
        mesh=build.make_config_mesh(config),
    )
    return _measure_reference(run, policy, local_copy(state.ema), store) if processes.is_main() else {}


def _measure_reference(run, policy, params, store):
    """Held-out negative log-likelihood of the demonstrations' actions, and that of their frequencies."""
    config, r = run.config, run.config.reference
    _, from_env = build.action_maps(config)
    own = from_env or (lambda actions: actions)
    train_episodes, held_out = split(run, store)
    nll = jax.jit(lambda params, clip: behaviour.negative_log_likelihood(policy, params, clip))
    starts = store.starts(held_out, r.clip)
    losses = []
    for i in range(16):
        clip = store.gather(batch_starts(config.seed + 1, i, starts, r.batch), r.clip)
        losses.append(float(nll(params, dataclasses.replace(clip, actions=own(clip.actions)))))
    seen, unseen = (own(store.actions[store.starts(episodes, 1)]) for episodes in (train_episodes, held_out))
    marginal = behaviour.marginal_nll(seen, unseen, policy.sizes)
    return {"held_out_nll": float(np.mean(losses)), "marginal_nll": float(marginal)}


def load_reference(run):
    """Parameters of pi_ref."""
    if run.config.reference.weights:
        return build.vpt_params(run.config)
    optimizer = make_optimizer(1.0, 1)
    example = shapes(lambda: init_state(_init_policy(run.config), optimizer))
    return restore_state(run, "behaviour", example).ema
