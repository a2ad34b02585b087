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
# # A quick tour of prowl_jax
#
# PROWL trains a video world model on the mistakes that an adversary finds in the real environment.
# This notebook shows its parts one by one, in about a minute on two CPU cores.
#
# Everything here is far too small and far too briefly trained to look good. It shows how the
# parts are called. For a run with figures that mean something, use
# `python -m experiments.prowl_main --config=experiments/configs/quickstart.py`.
#
# It needs the package and its requirements: `pip install -r requirements.txt -e .`

# %%
# On Colab: clone the repository, change into its folder, and there run
# "pip install -q -r requirements.txt -e ." in a cell of its own, with a % before it.
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from prowl_jax.diffusion import flow, sampler
from prowl_jax.diffusion.forcing import Forcing, sample_levels
from prowl_jax.envs.demonstrators import record
from prowl_jax.envs.vizdoom import make_demonstrator, make_vizdoom
from prowl_jax.metrics.image import psnr
from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.world_model import WorldModel
from prowl_jax.pat import buffer as pat
from prowl_jax.pat.priority import Priority
from prowl_jax.pat.score import latent_regret
from prowl_jax.train import autoencoder as autoencoder_training
from prowl_jax.train import world_model as world_model_training
from prowl_jax.train.compilation_cache import enable_compilation_cache
from prowl_jax.train.state import init_state, make_optimizer
from prowl_jax.types import Batch

enable_compilation_cache()  # a second run starts faster
key = jax.random.key(0)

# %% [markdown]
# ## The PAT buffer
#
# It keeps the trajectories on which the world model is most wrong, and draws from them the more
# often, the more wrong it still is. It is a pytree of arrays and a few pure functions; the items
# can be any pytree. Here an item is just a number.

# %%
scoring, priority = pat.Scoring({"regret": 1.0}), Priority("rank", temperature=0.3, staleness=0.3)
buffer = pat.init(jax.ShapeDtypeStruct((), jnp.float32), capacity=12, scoring=scoring)
regret = np.random.default_rng(0).uniform(size=40).astype(np.float32)
insert = jax.jit(pat.insert, donate_argnames="buffer", static_argnames="scoring")
buffer = insert(buffer, regret, {"regret": regret}, np.ones(40, bool), cycle=0, scoring=scoring)
print("offered 40, kept the 12 worst:", bool(buffer.raw["regret"].min() >= np.sort(regret)[-12]))

# The world model learns half of them by heart; their scores sink.
first_regret = np.asarray(buffer.raw["regret"])
now = np.where(first_regret > np.median(first_regret), np.float32(0.1), first_regret)
rescored = pat.rescore(buffer, {"regret": now}, 0)

distribution = jax.jit(pat.distribution, static_argnames=("scoring", "priority"))

figure, axes = plt.subplots(1, 2, figsize=(8, 2.5), sharey=True)
for axis, state, title in zip(axes, (buffer, rescored), ("just inserted", "half of them solved"), strict=True):
    probability = np.asarray(distribution(state, 1, scoring, priority))
    axis.bar(range(12), probability[np.argsort(-first_regret)])
    axis.set(title=title, xlabel="trajectories, highest first regret first")
axes[0].set_ylabel("probability of replay")
plt.show()

# %% [markdown]
# ## Diffusion forcing and the sampler
#
# In training every chunk of latent frames has a noise level of its own, and some clips have a
# clean beginning. When sampling, the past is clean and the next chunk comes out of noise.

# %%
forcing = Forcing(chunk=3, shift=1.0, clean_prefix=0.5)
sigma, weight = jax.jit(lambda key: sample_levels(key, 6, 8, forcing))(key)
plt.figure(figsize=(4, 2.2))
plt.imshow(sigma, cmap="gray", vmin=0, vmax=1)
plt.gca().set(xlabel="chunk", ylabel="clip", title="noise level (white: pure noise)")
plt.show()

# %% [markdown]
# The maths takes the model as callables, so a world that is known exactly can stand in for the
# network: each latent is the one before plus the action, give or take 0.1. The best possible
# velocity is then a formula, and the rollout must follow the sum of the actions.

# %%
SPREAD = 0.1


def remember(context, context_actions):
    return context[:, -1:]


def velocity(memory, z, sigma, actions):
    mean = memory + actions[..., None, None]
    variance = (1 - sigma) ** 2 * SPREAD**2 + sigma**2
    return (sigma - (1 - sigma) * SPREAD**2) / variance * (z - (1 - sigma) * mean) - mean


actions = jnp.tile(jnp.sin(jnp.arange(31) / 4)[None, :, None], (16, 1, 1))
noise = jax.random.normal(key, (16, 30, 1, 1, 1))
track = sampler.rollout(
    remember, velocity, noise, jnp.zeros((16, 1, 1, 1, 1)), actions, 1, flow.sigma_schedule(20)
)
plt.figure(figsize=(6, 2.2))
plt.plot(track[:, :, 0, 0, 0].T, color="tab:blue", alpha=0.3)
plt.plot(jnp.cumsum(actions[0, 1:, 0]), color="black", label="sum of the actions")
plt.gca().set(xlabel="latent", title="16 rollouts of an exact model")
plt.legend()
plt.show()

# %% [markdown]
# ## A real environment
#
# ViZDoom, with a scripted demonstrator that moves a little like a person. `actions[t]` is what
# was done on seeing `frames[t]`.

# %%
env = make_vizdoom("explore", num_envs=4, workers=2, frame_size=(48, 64))
make = functools.partial(make_demonstrator, "explore", env.spec, seed=0)
episodes = list(record(env, make, frames_per_episode=120, episodes=8, seed=0))
env.close()
frames, actions = (np.stack(column) for column in zip(*episodes, strict=True))
print("frames", frames.shape, "actions", actions.shape, dict(zip(env.spec.names, env.spec.sizes, strict=True)))

figure, axes = plt.subplots(1, 6, figsize=(12, 2))
for axis, t in zip(axes, range(20, 44, 4), strict=True):
    axis.imshow(frames[0, t])
    axis.set_title(env.spec.describe(actions[0, t]) or "nothing", fontsize=8)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## A tiny world model
#
# An autoencoder turns a frame of 48x64 pixels into 6x8 latents, and a diffusion transformer
# predicts chunks of them from the past and the actions. A few seconds of training each.

# %%
autoencoder = Autoencoder(channels=8, widths=(16, 32), blocks=1)
dit = DiT(
    channels=8, action_sizes=env.spec.sizes, width=72, depth=2, heads=3, ffn=288, patch=2, chunk=4
)
world_model = WorldModel(dit, autoencoder, sampler_steps=6)
init = jax.jit(lambda key: world_model.init(key, frame_shape=(48, 64, 3), latents=8))
params = init(jax.random.key(0, impl="rbg"))  # this generator compiles fast

optimizer = make_optimizer(6e-3, steps=400, warm_up=20)
state = init_state(params["autoencoder"], optimizer)
step = autoencoder_training.make_train_step(autoencoder, optimizer, kl_weight=1e-4, ema_decay=0.9)
rng, flat = np.random.default_rng(0), frames.reshape(-1, 48, 64, 3)
for _ in range(400):
    state, metrics = step(state, flat[rng.integers(0, len(flat), 8)], key)
print(f"autoencoder: {metrics['psnr']:.1f} dB on its last batch, after 400 steps")

# %%
params["autoencoder"] = state.ema
raw = jax.jit(world_model.encode)(params, frames)
params["latent_mean"], params["latent_std"] = autoencoder_training.latent_statistics(raw)
latents = np.asarray((raw - params["latent_mean"]) / params["latent_std"])

optimizer = make_optimizer(3e-3, steps=150, warm_up=10)
state = init_state(params["dit"], optimizer)
loss = world_model_training.make_loss(world_model, Forcing(chunk=4, clean_prefix=0.75))
step = world_model_training.make_train_step(loss, optimizer, ema_decay=0.95)
for i in range(150):  # episodes 1 to 7; episode 0 is kept for looking at
    e, t = rng.integers(1, 8, (8, 1)), rng.integers(0, 120 - 8, (8, 1)) + np.arange(8)
    state, metrics = step(state, Batch(latents[e, t], actions[e, t]), key)
    if i % 50 == 49:
        print(f"world model: loss {metrics['loss']:.3f} after {i + 1} steps")
params["dit"] = state.ema

# %% [markdown]
# ## What it dreams, beside what was real
#
# Four real latents, then eight dreamt ones under the actions that were really done. The words
# are the action that led to each frame.


# %%
@jax.jit
def dream(params, latents, actions):
    dreamt = world_model.rollout(params, jax.random.key(1), latents[:, :4], actions, n_chunks=2)
    return dreamt, world_model.decode(params, dreamt), world_model.decode(params, latents[:, 4:])


rows = np.arange(20, 100, 8)[:, None] + np.arange(12)  # ten clips of episode 0
dreamt, decoded, best = dream(params, latents[0][rows], actions[0][rows])
regret = latent_regret(dreamt, latents[0][rows][:, 4:])
repeat = latent_regret(jnp.repeat(latents[0][rows][:, 3:4], 8, axis=1), latents[0][rows][:, 4:])
real = frames[0][rows][:, 4:] / np.float32(255)
print(f"latent regret {regret.mean():.3f}; repeating the last frame {repeat.mean():.3f}")
print(f"PSNR {psnr(decoded, real).mean():.1f} dB")

figure, axes = plt.subplots(3, 8, figsize=(13, 4))
for t in range(8):
    for row, shown in enumerate((real, best, decoded)):
        axes[row, t].imshow(shown[0, t])
    axes[0, t].set_title(env.spec.describe(actions[0, rows[0, 3 + t]]) or "nothing", fontsize=7)
for axis in axes.flat:
    axis.axis("off")
figure.suptitle("top: real; middle: real, through the autoencoder; bottom: dreamt", y=1.02)
plt.show()

# %% [markdown]
# Patches of colour, further from reality than a still picture: a few seconds of training are not
# enough. The quick start trains for minutes, and its report says whether it was enough.
#
# `latent_regret` is what PROWL's adversary is paid for: it looks for places where this number is
# high, without leaving plausible behaviour. The loop that closes the circle is
# `prowl_jax.methods.prowl.Prowl.cycle`.
