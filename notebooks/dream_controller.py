# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A controller that learned in a dream
#
# A small world model watches somebody press keys at random. Then a controller learns inside the
# dreams of that model, without ever seeing the real game, and at the end plays the real game. The
# idea is that of World Models ([arXiv 1803.10122](https://arxiv.org/abs/1803.10122)).
#
# What it costs: about two minutes for the controller and two for the world model, on two CPU
# cores, no GPU. It needs the package, matplotlib, and evosax for CMA-ES:
# `pip install -r requirements.txt evosax -e .` (On Colab: clone the repository, change into its
# folder, and run that in a cell of its own, with a % before it.)

# %%
import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from prowl_jax.actions import ActionSpec, choice
from prowl_jax.diffusion.autoregressive import FrameLevels
from prowl_jax.envs.base import DeviceStep
from prowl_jax.envs.dream import DreamEnv
from prowl_jax.methods.dream_policy import Evolution, make_evolution, make_returns
from prowl_jax.models import UNet, UNetWorldModel
from prowl_jax.models.policies.linear import LinearController
from prowl_jax.models.reward_heads import RewardHeads, RewardNetwork
from prowl_jax.train import compilation_cache, init_state, make_optimizer
from prowl_jax.train import reward_heads as heads_training
from prowl_jax.train import world_model as world_model_training
from prowl_jax.types import Batch, pytree

compilation_cache.enable_compilation_cache()  # a second run starts faster

# %% [markdown]
# How much of everything. The defaults are what the times above are for; smaller ones show
# that all of it runs.

# %% tags=["parameters"]
PLAYERS, PLAYED = 64, 200  # players side by side, and steps of each
MODEL_STEPS, HEAD_STEPS = 1200, 600  # of training
WIDTH = 48  # channels of the world model
SEARCH = Evolution(generations=40, population=24, rollouts=4, components=16, sigma=0.1)
EPISODES = 64  # to measure a controller in

# %% [markdown]
# ## Reality: a game of catch
#
# A ball falls, perhaps aslant, and bounces off the sides. A bat at the bottom goes left or right.
# A caught ball is worth 1 and the next one falls; who misses one has lost. The game is written as
# a `DeviceEnv`: pure functions of a state, so that `jit` and `vmap` take it like any other array
# program. Your own could stand here.

# %%
SIDE, BAT, LIMIT = 16, 4, 56


@pytree
class Catch:
    """What there is to know: a key, how often it began, how long ago, and where things are."""

    key: jax.Array
    episode: jax.Array
    age: jax.Array
    ball: jax.Array  # x, y
    drift: jax.Array
    bat: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Game:
    """``goes_on``: a missed ball ends nothing, for recording."""

    goes_on: bool = dataclasses.field(default=False, metadata={"static": True})
    spec = ActionSpec((choice("bat", "left", "right"),))
    frame_shape = (SIDE, SIDE, 3)

    def reset(self, key):
        state = self._start(key, jnp.int32(0))
        return state, self._see(state, jnp.bool_(False), jnp.float32(0), jnp.bool_(False))

    def step(self, state, action):
        bat = jnp.clip(state.bat + jnp.array([0, -1, 1])[action[0]], 0, SIDE - BAT)
        x, y = state.ball[0] + state.drift, state.ball[1] + 1
        drift = jnp.where((x < 0) | (x > SIDE - 2), -state.drift, state.drift)
        x = jnp.clip(x, 0, SIDE - 2)
        landed = y > SIDE - 4
        caught = landed & (x + 1 >= bat) & (x < bat + BAT)
        missed = landed & ~caught
        new_x, new_drift = self._ball(jax.random.fold_in(state.key, 1000 * state.episode + state.age + 1))
        ball = jnp.where(landed, jnp.stack([new_x, 0]), jnp.stack([x, y]))
        after = Catch(state.key, state.episode, state.age + 1, ball, jnp.where(landed, new_drift, drift), bat)
        done = (after.age >= LIMIT) | missed if not self.goes_on else jnp.bool_(False)
        fresh = self._start(state.key, state.episode + 1)
        after = jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, after)
        return after, self._see(after, done, caught.astype(jnp.float32), missed)

    def _ball(self, key):
        place, drift = jax.random.split(key)
        return jax.random.randint(place, (), 0, SIDE - 1), jax.random.randint(drift, (), -1, 2)

    def _start(self, key, episode):
        begun = jax.random.fold_in(key, 1000 * episode)
        x, drift = self._ball(begun)
        bat = jax.random.randint(jax.random.fold_in(begun, 1), (), 0, SIDE - BAT + 1)
        return Catch(key, episode, jnp.int32(0), jnp.stack([x, 0]), drift, bat)

    def _see(self, state, done, reward, over):
        down, across = jnp.arange(SIDE)[:, None], jnp.arange(SIDE)[None]
        x, y = state.ball
        ball = (abs(2 * across - 2 * x - 1) < 2) & (abs(2 * down - 2 * y - 1) < 2)
        bat = (down >= SIDE - 2) & (across >= state.bat) & (across < state.bat + BAT)
        sky = jnp.array([20, 30, 60]) * jnp.ones((SIDE, SIDE, 1))
        frame = jnp.where(ball[..., None], jnp.array([250, 220, 60]), sky)
        frame = jnp.where(bat[..., None], jnp.array([80, 220, 120]), frame).astype(jnp.uint8)
        return DeviceStep(frame, done, {"reward": reward, "over": over})


# %% [markdown]
# Somebody who presses keys at random, each for a few steps. That is all that the world model
# will ever know of this world.


# %%
@jax.jit
def random_play(key):
    """Frames, actions, rewards, misses, ``[T, N, ...]``; ``actions[t]`` leads to ``frames[t + 1]``."""
    game = Game(goes_on=True)
    state, seen = jax.vmap(game.reset)(jax.random.split(key, PLAYERS))

    def step(carry, key):
        state, frame, held = carry
        again, which = jax.random.split(key)
        fresh = jax.random.randint(which, held.shape, 0, 3)
        held = jnp.where(jax.random.uniform(again, held.shape) < 0.3, fresh, held)
        state, after = jax.vmap(game.step)(state, held)
        return (state, after.frame, held), (frame, held, after.info["reward"], after.info["over"])

    begin = state, seen.frame, jnp.zeros((PLAYERS, 1), jnp.int32)
    return jax.lax.scan(step, begin, jax.random.split(key, PLAYED))[1]


frames, actions, rewards, missed = map(np.asarray, random_play(jax.random.key(0)))
print(f"{frames.shape[0] * frames.shape[1]:,} frames, {rewards.sum():.0f} balls caught, {missed.sum()} missed")


def strip(rows, titles, words=None):
    """Pictures in rows."""
    figure, axes = plt.subplots(len(rows), len(rows[0]), figsize=(13, 1.3 * len(rows)), squeeze=False)
    for axis, frame in zip(axes.flat, (frame for row in rows for frame in row), strict=True):
        axis.imshow(frame)
        axis.set(xticks=[], yticks=[])
    for axis, title in zip(axes[:, 0], titles, strict=True):
        axis.set_ylabel(title, fontsize=8)
    for axis, word in zip(axes[0], words or (), strict=False):
        axis.set_title(word, fontsize=8)
    plt.show()


strip([frames[:16, 0]], ["real"], [Game.spec.describe(a) or "nothing" for a in actions[:16, 0]])

# %% [markdown]
# ## A world model
#
# A small convolutional denoiser over pixels: from two frames and the action it makes the next
# frame out of noise. A minute of training on what was recorded; the last players are held out.

# %%
network = UNet(Game.spec.sizes, widths=(WIDTH,), blocks=(2,), width=WIDTH, attention=False, motion=False)
world_model = UNetWorldModel(network, sampler_levels=(1.0, 0.4, 0.1, 0.0))
params = jax.jit(lambda key: world_model.init(key, Game.frame_shape))(jax.random.key(1))
held_out = max(2, PLAYERS // 8)
rng, LENGTH = np.random.default_rng(0), world_model.context + 2


def clips(players, count, length):
    """Clips from anywhere: ``Batch`` of latents and actions."""
    player, first = rng.choice(players, (count, 1)), rng.integers(0, PLAYED - length, (count, 1))
    places = first + np.arange(length), player
    return Batch(world_model.from_kept(frames[places]), actions[places])


optimizer = make_optimizer(2e-3, steps=MODEL_STEPS, warm_up=max(1, MODEL_STEPS // 20))
state = init_state(params["dit"], optimizer)
step = world_model_training.make_train_step(world_model.loss(FrameLevels(pure=0.5)), optimizer, ema_decay=0.99)
for i in range(MODEL_STEPS):
    state, metrics = step(state, clips(np.arange(held_out, PLAYERS), 32, LENGTH), jax.random.key(2))
    if (i + 1) % (MODEL_STEPS // 4) == 0:
        print(f"world model: loss {metrics['loss']:.3f} after {i + 1} steps")
params["dit"] = state.ema

# %% [markdown]
# What does it dream? Two real frames, then sixteen of its own, under the keys that were really
# pressed. As long as the ball falls there is one right answer; where the next ball appears,
# nobody can know, and the dream makes up its own.

# %%
seen = clips(np.arange(held_out), 2, 18)
rollout = jax.jit(world_model.rollout, static_argnames="n_chunks")
dreamt = rollout(params, jax.random.key(3), seen.latents[:, :2], seen.actions, n_chunks=16)
decode = jax.jit(world_model.decode)
rows = [decode(params, x)[0] for x in (seen.latents[:, 2:], dreamt)]
strip(rows, ["real", "dreamt"], [Game.spec.describe(a) or "nothing" for a in seen.actions[0, 1:]])

# %% [markdown]
# ## What is it worth, and when is it over?
#
# Pictures alone teach no one. A second small network looks at two frames and the action between
# them and says the reward and the chance that it is over. It learns from the same recordings.

# %%
heads = RewardHeads(RewardNetwork(Game.spec.sizes, width=12, hidden=48))
heads_state = init_state(
    jax.jit(lambda key: heads.init(key, Game.frame_shape, rewards.mean(), rewards.std() + 1e-6))(jax.random.key(4)),
    optimizer := make_optimizer(2e-3, steps=HEAD_STEPS, warm_up=max(1, HEAD_STEPS // 20)),
)
heads_step = heads_training.make_train_step(heads, optimizer, ema_decay=0.99)


def moments(players, count):
    """Steps of these players, drawn evenly: how often balls are missed is part of what is learned."""
    t, player = rng.integers(0, PLAYED - 1, count), rng.choice(players, count)
    return heads_training.Steps(
        frames[t, player], frames[t + 1, player], actions[t, player], rewards[t, player], missed[t, player]
    )


for _ in range(HEAD_STEPS):
    heads_state, _ = heads_step(heads_state, moments(np.arange(held_out, PLAYERS), 64), jax.random.key(0))
test = moments(np.arange(held_out), 1024)
said, end = jax.jit(heads.apply)(heads_state.ema, test.before, test.after, test.actions)
told = 1 - np.mean((said - test.reward) ** 2) / max(test.reward.var(), 1e-9)
right = ((end > 0) == test.over).mean()
print(f"held-out: {100 * told:.0f} % of the rewards' variance told, {100 * right:.1f} % of ends")

# %% [markdown]
# ## The dream as an environment
#
# World model, heads and some real beginnings together are a `DreamEnv`: the same interface as the
# game, so whatever learns in one can learn in the other. `temperature` scales the noise that
# frames are made from.

# %%
begin = clips(np.arange(held_out, PLAYERS), 256, world_model.context)
dreams = DreamEnv(
    params, heads_state.ema, jnp.asarray(begin.latents), jnp.asarray(begin.actions), jnp.float32(1.0),
    world_model, heads, Game.spec, Game.frame_shape, LIMIT,
)  # fmt: skip

# %% [markdown]
# ## Two minutes of dreaming
#
# The controller is World Models': a linear map from a few principal components of the picture,
# and their change since the last one, to the keys. CMA-ES tries a population of such maps,
# each in a few dreams, and moves towards the better ones.

# %%
shown = frames[:, held_out:].reshape(-1, *Game.frame_shape)[::5][:2000]
controller = LinearController(Game.spec.sizes, SEARCH.components, world_model)
blank = controller.init(params, shown)
init, search_step, params_of = make_evolution(controller, SEARCH, LIMIT)
search, gained = init(blank, jax.random.key(5)), []
for generation in range(SEARCH.generations):
    key = jax.random.fold_in(jax.random.key(6), generation)
    search, metrics = search_step(search, blank, dreams, key)
    gained.append((float(metrics["return"]), float(metrics["best"])))
learned = params_of(search, blank)

plt.figure(figsize=(6, 2.2))
plt.plot(np.array(gained), label=["mean of a generation", "its best"])
plt.gca().set(xlabel="generation", title="balls caught in dreams")
plt.legend(fontsize=7)
plt.show()

# %% [markdown]
# ## And in reality?
#
# Now it plays the game that it has never seen. Beside it stand two who learned nothing: one who
# stands still, and one who presses keys at random.


# %%
@dataclasses.dataclass(frozen=True)
class AtRandom:
    """A policy is anything with these two functions and the sizes of its actions."""

    sizes: tuple = Game.spec.sizes

    def initial_state(self, batch):
        return jnp.zeros(batch)

    def apply(self, params, state, frames, previous, first):
        return jnp.zeros((*frames.shape[:2], sum(self.sizes))), jnp.zeros(frames.shape[:2]), state


returns = jax.jit(make_returns(controller, LIMIT))
at_random = jax.jit(make_returns(AtRandom(), LIMIT))
keys = jax.random.split(jax.random.key(7), EPISODES)
rows = {
    "at random": (at_random(Game(), {}, keys, keys[0]), at_random(dreams, {}, keys, keys[0])),
    "standing still": (returns(Game(), blank, keys, keys[0]), returns(dreams, blank, keys, keys[0])),
    "learned in dreams": (returns(Game(), learned, keys, keys[0]), returns(dreams, learned, keys, keys[0])),
}
print(f"{'balls caught':18} in reality   in dreams")
for name, found in rows.items():
    means = [np.mean(x["return"]) for x in found]
    errors = [np.std(x["return"]) / np.sqrt(EPISODES) for x in found]
    print(f"{name:18} {means[0]:5.2f} ±{errors[0]:.2f}  {means[1]:5.2f} ±{errors[1]:.2f}")

# %% [markdown]
# Here it plays, one real game from its beginning.


# %%
@jax.jit
def play(params, key):
    game = Game()
    state, seen = game.reset(key)

    def step(carry, _):
        state, frame, memory, first = carry
        logits, _, memory = controller.apply(params, memory, frame[None, None], None, first[None, None])
        state, after = game.step(state, jnp.argmax(logits[0, 0])[None])
        return (state, after.frame, memory, after.done), frame

    return jax.lax.scan(step, (state, seen.frame, controller.initial_state(1), jnp.bool_(True)), None, LIMIT)[1]


game = play(learned, keys[0])
strip([game[begin : begin + 14] for begin in range(0, LIMIT, 14)], ["real"] * (LIMIT // 14))

# %% [markdown]
# ## The temperature
#
# A dream that is too sure of itself can be exploited: World Models' controllers learned to walk
# where their model never made a fireball. What does the same controller gain in dreams of other
# temperatures? (The program is the same, so nothing is compiled anew.)

# %%
for temperature in (0.0, 0.5, 1.0, 1.5):
    warmer = dataclasses.replace(dreams, temperature=jnp.float32(temperature))
    gain = returns(warmer, learned, keys, keys[0])
    balls, steps = gain["return"].mean(), gain["steps"].mean()
    print(f"temperature {temperature:3.1f}: {balls:.2f} balls, over after {steps:.0f} steps")

# %% [markdown]
# A controller that gains much in dreams and little in reality has found what is wrong with the
# dream. PROWL goes the other way round: it pays somebody to find that, and mends it.
#
# `python -m experiments.dream_policy --config=experiments/configs/dream_voxel.py` asks the same
# in the world of blocks, with several temperatures, learners and seeds, intervals, and a table of
# how well the dreams of each world model tell good policies from bad ones (`docs/dreams.md`).
