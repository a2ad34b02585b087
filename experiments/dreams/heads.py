"""The stages that record play with rewards and train the heads that say them; held-out figures of how well they do."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.dreams.settings import DreamSettings, HeadsTraining
from experiments.run.progress import Progress
from experiments.run.training_loop import restore_state, shapes, train
from experiments.stages import build
from experiments.stages.clip_stores import open_store
from prowl_jax.data.feeder import batch_starts
from prowl_jax.data.store import StoreWriter
from prowl_jax.metrics.calibration import brier, calibration_error, reliability
from prowl_jax.models.reward_heads import RewardHeads, RewardNetwork
from prowl_jax.settings import read
from prowl_jax.train import reward_heads as training
from prowl_jax.train.state import init_state

STORE = "rewarded_play"
ARRAYS = {"reward": ("<f4", ()), "over": ("?", ())}
BATCH = 256


def record_play(run):
    """A clip store of the players' episodes with the reward of every step; what was gained by each of them."""
    config, d = run.config, read(DreamSettings, run.config.dream)
    if run.data(STORE).exists():
        return {"frames": len(open_store(run, STORE))}
    environment, figures = build.make_environment(config), {}
    run.data(STORE).parent.mkdir(parents=True, exist_ok=True)
    with (
        StoreWriter(run.data(STORE), build.spec_of(config), build.frame_shape(config), ARRAYS) as writer,
        Progress("rewarded play", len(d.players) * d.episodes) as progress,
    ):
        for i, player in enumerate(d.players):
            seeds = np.random.SeedSequence([config.seed, 7000 + i]).generate_state(d.episodes)
            played = environment.rewarded_play(config.env.task, d.goal, d.steps, seeds, player)
            frames, actions, _, info = jax.tree.map(np.asarray, played)
            for n in range(d.episodes):
                reward, over = info["reward"][:, n].astype(np.float32), info["over"][:, n].astype(bool)
                writer.add_episode(frames[:, n], actions[:, n], reward=reward, over=over)
                progress.update(i * d.episodes + n + 1)
            figures[f"reward_{player}"] = float(info["reward"].mean())
            figures[f"over_{player}"] = float(info["over"].mean())
    return {"frames": len(open_store(run, STORE)), **figures}


def make_heads(config):
    """The configured ``RewardHeads``."""
    return RewardHeads(read(RewardNetwork, config.dream.heads, sizes=build.spec_of(config).sizes))


def train_heads(run):
    """Train the heads on real steps; how well they say rewards and ends of held-out episodes.

    ``reward_r2``: share of the rewards' variance that is told. ``over_brier_skill``: Brier's score against always
    saying how frequent ends are (1 is certain and right, 0 no better); ``over_calibration_error`` in chances.
    """
    config = run.config
    store, settings, (train_episodes, held_out) = _play(run)
    starts, rewards = store.starts(train_episodes, 2), store.array("reward")
    heads, optimizer = make_heads(config), settings.optimizer
    state = train(
        run,
        "heads",
        lambda: init_state(_initial(config, rewards[starts].mean(), rewards[starts].std()), optimizer),
        training.make_train_step(heads, optimizer, ema_decay=settings.ema_decay),
        lambda step: steps_at(store, batch_starts(config.seed + 11, step, starts, settings.batch)),
        build.stage_key(config, "heads"),
        steps=settings.steps,
        mesh=build.make_config_mesh(config),
    )
    places = store.starts(held_out, 2)
    chosen = np.random.default_rng(config.seed).permutation(len(places))[: settings.measured]
    return measured(heads, state.ema, store, np.sort(places[chosen]))


def load_heads(run):
    """Parameters of the finished stage (averaged)."""
    optimizer = read(HeadsTraining, run.config.dream.heads).optimizer
    return restore_state(run, "heads", shapes(lambda: init_state(_initial(run.config, 0.0, 1.0), optimizer))).ema


def steps_at(store, starts):
    """``Steps`` that begin at frames ``starts``, of numpy arrays."""
    clip = store.gather(starts, 2)
    return training.Steps(
        clip.frames[:, 0], clip.frames[:, 1], clip.actions[:, 0], store.array("reward")[starts],
        store.array("over")[starts],
    )  # fmt: skip


def measured(heads, params, store, starts):
    """Figures on the steps at ``starts``, and the curve of the ends' calibration."""
    apply = jax.jit(heads.apply)
    said, ends, steps = [], [], []
    for begin in range(0, len(starts), BATCH):
        part = steps_at(store, np.resize(starts[begin : begin + BATCH], min(BATCH, len(starts))))
        count = len(starts[begin : begin + BATCH])
        reward, end = apply(params, part.before, part.after, part.actions)
        said.append(np.asarray(reward)[:count])
        ends.append(np.asarray(jax.nn.sigmoid(jnp.asarray(end)))[:count])
        steps.append((part.reward[:count], part.over[:count]))
    said, ends = np.concatenate(said), np.concatenate(ends)
    reward, over = (np.concatenate(column) for column in zip(*steps, strict=True))
    blind, share = np.mean((reward - reward.mean()) ** 2), over.mean()
    score, variance = brier(ends, over), float(share * (1 - share))
    return {
        "held_out_steps": len(reward),
        "reward_mean": float(reward.mean()),
        "reward_said_mean": float(said.mean()),
        "reward_r2": float(1.0 - np.mean((reward - said) ** 2) / blind) if blind > 0 else None,
        "over_share": float(share),
        "over_said_share": float(ends.mean()),
        "over_accuracy": float(((ends > 0.5) == over).mean()),
        "over_brier_skill": 1.0 - score / variance if variance else None,
        "over_calibration_error": calibration_error(ends, over),
        "over_curve": reliability(ends, over),
    }


def _play(run):
    settings, store = read(HeadsTraining, run.config.dream.heads), open_store(run, STORE)
    return store, settings, store.split(settings.held_out_fraction, run.config.seed)


def _initial(config, mean, std):
    key = build.stage_key(config, "heads init")
    return make_heads(config).init(key, build.frame_shape(config), mean, max(float(std), 1e-6))
