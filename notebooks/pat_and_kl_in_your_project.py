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
# # PAT and the KL anchor in your own JAX project
#
# You have a world model of your own, and want to know where it is wrong, and to mend it there.
# This notebook does that with a world model that knows nothing of prowl_jax: forty lines of plain
# JAX. Two packages of prowl_jax are imported, both pure functions of arrays:
#
# - `prowl_jax.pat`: the buffer that keeps what the world model gets wrong and replays it;
# - `prowl_jax.rl`: PPO with a KL anchor, which makes a policy look for such places without
#   leaving plausible behaviour.
#
# What it costs: about half a minute on two CPU cores, no GPU, no simulator and no download.
# `pip install .` in a clone of the repository brings all that is needed, and matplotlib draws the
# pictures. (On Colab: clone the repository, change into its folder, and run "pip install -q ."
# in a cell of its own, with a % before it.)

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from prowl_jax import pat, rl

# %% tags=["parameters"]
CYCLES = 24  # of the loop, for each policy

# %% [markdown]
# ## A world with a place where nobody goes
#
# A ball on a table of 1 by 1. Its state is where it is and how fast: `[x, y, vx, vy]`. Two keys
# push it: one says left, right or neither, the other up, down or neither. So an action is two
# whole numbers, each 0, 1 or 2. On the right of the table, beyond x = 0.7, runs a river: there
# a current carries the ball down.

# %%
SIZES = (3, 3)  # how many values each factor of an action has
PUSH = jnp.array([0.0, -1.0, 1.0])
RIVER, STEPS = 0.7, 24


def real_step(state, action):
    """``[..., 4]``, int ``[..., 2]`` -> the next state."""
    place, speed = state[..., :2], state[..., 2:]
    wet = jax.nn.sigmoid((place[..., :1] - RIVER) / 0.02)
    speed = 0.8 * speed + 0.01 * PUSH[action] + 0.012 * wet * jnp.array([0.0, -1.0])
    inside = jnp.clip(place + speed, 0.0, 1.0)
    return jnp.concatenate([inside, jnp.where(inside == place + speed, speed, 0.0)], -1)


def act(key, choose, count, reach=0.6):
    """Let ``choose(key, states) -> actions`` play ``count`` times: the clips, a pytree of arrays."""
    key, place_key = jax.random.split(key)
    place = jax.random.uniform(place_key, (count, 2), minval=0.1, maxval=reach)
    first = jnp.concatenate([place, jnp.zeros((count, 2))], -1)

    def step(state, key):
        action = choose(key, state)
        after = real_step(state, action)
        return after, (after, action)

    _, (states, actions) = jax.lax.scan(step, first, jax.random.split(key, STEPS))
    states = jnp.concatenate([first[None], states])
    return {"states": jnp.swapaxes(states, 0, 1), "actions": jnp.swapaxes(actions, 0, 1)}


# %% [markdown]
# The demonstrators walk to a place of their own, with a few slips. They keep to the left of the
# river, as people keep to the paths they know. `visitors` are the same people, but for testing:
# these go everywhere.


# %%
@functools.partial(jax.jit, static_argnames="count")
def demonstrate(key, count, reach=0.6):
    key, goal_key = jax.random.split(key)
    goal = jax.random.uniform(goal_key, (count, 2), minval=0.1, maxval=reach)

    def choose(key, state):
        slip_key, other_key = jax.random.split(key)
        way = goal - state[:, :2] - 4 * state[:, 2:]
        wanted = jnp.where(jnp.abs(way) < 0.03, 0, jnp.where(way < 0, 1, 2))
        slips = jax.random.uniform(slip_key, (count, 1)) < 0.15
        return jnp.where(slips, jax.random.randint(other_key, (count, 2), 0, 3), wanted)

    return act(key, choose, count, reach)


demos = demonstrate(jax.random.key(1), 512)
held_out, visitors = demonstrate(jax.random.key(2), 256), demonstrate(jax.random.key(3), 256, 0.95)


def show(axis, clips, title, color="tab:blue"):
    axis.axvspan(RIVER, 1.0, color="lightblue")
    axis.plot(*np.asarray(clips["states"])[:64, :, :2].T, color=color, lw=0.5)
    axis.set(title=title, xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], aspect="equal")


figure, axes = plt.subplots(1, 2, figsize=(6, 3.2))
show(axes[0], demos, "demonstrations")
show(axes[1], visitors, "visitors, to test with")
plt.show()

# %% [markdown]
# ## A world model that is not ours
#
# A small network that says the next state. Put yours in its place: the only thing that is asked
# of it below is a function `regret(theta, clips)`, one number for each clip. Here that is the
# error of a *dream*: from the real first state, the model goes on alone under the real actions,
# and at the end we see how far from reality it has come.

# %%
SCALE = jnp.array([0.2, 0.2, 0.03, 0.03])  # about the deviations of the state


@functools.partial(jax.jit, static_argnames="sizes")
def network(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    shapes = list(zip(sizes, sizes[1:], strict=False))
    return [(jax.random.normal(k, s) / np.sqrt(s[0]), jnp.zeros(s[1])) for k, s in zip(keys, shapes, strict=True)]


def apply(layers, x):
    for weights, bias in layers[:-1]:
        x = jnp.tanh(x @ weights + bias)
    return x @ layers[-1][0] + layers[-1][1]


def look(state):
    return state / SCALE - jnp.array([2.0, 2.0, 0.0, 0.0])


def guess(theta, state, action):
    pushes = jax.nn.one_hot(action, 3).reshape(*action.shape[:-1], 6)
    return state + 0.02 * apply(theta, jnp.concatenate([look(state), pushes], -1))


def world_model_loss(theta, clips):
    states = clips["states"]
    return jnp.mean(jnp.square((guess(theta, states[:, :-1], clips["actions"]) - states[:, 1:]) / SCALE))


def dream(theta, clips):
    def step(state, action):
        state = guess(theta, state, action)
        return state, state

    _, states = jax.lax.scan(step, clips["states"][:, 0], jnp.swapaxes(clips["actions"], 0, 1))
    return jnp.swapaxes(states, 0, 1)


@jax.jit
def regret(theta, clips):
    error = (dream(theta, clips) - clips["states"][:, 1:]) / SCALE
    return jnp.sqrt(jnp.mean(jnp.square(error), (1, 2)))


# %% [markdown]
# ## Phase 1: learn from the demonstrations
#
# The world model learns what follows from what. The *reference policy* learns what demonstrators
# do: it is a network that gives logits for both keys, side by side, and a value that will be
# needed later. `rl.categorical` handles such products of categorical distributions.


# %%
def policy(phi, state):
    said = apply(phi, look(state))
    return said[..., :6], said[..., 6]


def cloning_loss(phi, clips):
    logits, _ = policy(phi, clips["states"][:, :-1])
    return -jnp.mean(rl.categorical.log_prob(logits, clips["actions"], SIZES))


fast, slow = optax.adam(3e-3), optax.adam(1e-3)


@functools.partial(jax.jit, static_argnames=("loss", "steps"))
def fit(params, clips, key, loss, steps):
    def step(carry, key):
        params, state = carry
        rows = jax.random.randint(key, (32,), 0, len(clips["states"]))
        gradient = jax.grad(loss)(params, jax.tree.map(lambda x: x[rows], clips))
        updates, state = fast.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, fast.init(params)), jax.random.split(key, steps))[0][0]


theta_0 = fit(network(jax.random.key(4), (10, 48, 48, 4)), demos, jax.random.key(5), world_model_loss, 1000)
reference = fit(network(jax.random.key(6), (4, 48, 7)), demos, jax.random.key(7), cloning_loss, 300)

# %% [markdown]
# Where is this model wrong? We know where, since we made the river. On its own kind of data all
# looks well; among visitors those who got wet are dreamt badly.


# %%
def judge(theta):
    """Mean regret: of held-out demonstrations, of visitors who got wet, of those who stayed dry."""
    wet = np.asarray((visitors["states"][..., 0] > RIVER).any(-1))
    seen, everywhere = np.asarray(regret(theta, held_out)), np.asarray(regret(theta, visitors))
    return {"held out": seen.mean(), "wet": everywhere[wet].mean(), "dry": everywhere[~wet].mean()}


before = judge(theta_0)
print({name: round(float(value), 3) for name, value in before.items()})

# %% [markdown]
# ## The buffer
#
# In reality nobody tells us about the river. So we keep what turns out wrong. A `Scoring` names
# the raw scores that the buffer holds; here it is one, the regret. Its z-score over the buffer,
# plus how it changed since the last scoring, is what decides who stays: what has been learned
# sinks. A `Priority` turns scores into probabilities of being drawn. Both are hashable settings,
# so they can be static arguments of `jit`, and the buffer is donated wherever a new one returns.

# %%
SCORING = pat.Scoring({"regret": 1.0}, changes={"regret": 1.0})
PRIORITY = pat.Priority("rank", temperature=1.0, staleness=0.3)
CAPACITY, ROWS = 64, 64

insert = jax.jit(pat.insert, donate_argnames="buffer", static_argnames="scoring")
rescore = jax.jit(pat.rescore, donate_argnames="buffer")


def new_buffer():
    one_clip = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), demos)
    return pat.init(one_clip, CAPACITY, SCORING)


print(f"a buffer of {CAPACITY} clips takes {pat.nbytes(jax.tree.map(lambda x: x[0], demos), CAPACITY) / 1e3:.0f} kB")

# %% [markdown]
# ## The adversary
#
# It begins as the reference and is paid for the regret of what it shows. `rl.ppo_loss` takes the
# logits of both: the exact divergence KL(policy || reference), times `kl_cost`, is what holds it.
# The reward comes once, after the last step; `rl.gae` spreads it over the steps.


# %%
@jax.jit
def collect(phi, key):
    return act(key, lambda key, state: rl.categorical.sample(key, policy(phi, state)[0], SIZES), ROWS)


@jax.jit
def hunt(phi, optimizer_state, clips, reward, kl_cost):
    states, actions, mask = clips["states"], clips["actions"], jnp.ones((ROWS, STEPS))
    last = mask.at[:, :-1].set(0.0)
    logits, value = policy(phi, states)
    old_log_prob = rl.categorical.log_prob(logits[:, :-1], actions, SIZES)
    advantage = jax.vmap(rl.gae.gae, (0, 0, 0, None))(last * reward[:, None], value, 1.0 - last, 0.95)
    target = advantage + value[:, :-1]
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-6)
    anchor, _ = policy(reference, states[:, :-1])

    def loss(phi):
        logits, value = policy(phi, states[:, :-1])
        return rl.ppo_loss(
            logits, value, anchor, actions, old_log_prob, advantage, target, mask, SIZES, kl_cost=kl_cost
        )

    def step(carry, _):
        phi, state = carry
        gradient, metrics = jax.grad(loss, has_aux=True)(phi)
        updates, state = fast.update(gradient, state)
        return (optax.apply_updates(phi, updates), state), metrics["kl_to_reference"]

    (phi, optimizer_state), kl = jax.lax.scan(step, (phi, optimizer_state), None, 6)
    return phi, optimizer_state, kl[-1]


# %% [markdown]
# ## Mending
#
# Half of every batch comes from the buffer, half from the demonstrations, so that what was known
# is not forgotten. Drawing is a pure function too: it may stand inside a `scan`.


# %%
@jax.jit
def mend(theta, optimizer_state, buffer, key, cycle):
    def step(carry, key):
        theta, state, buffer = carry
        pat_key, passive_key = jax.random.split(key)
        buffer, slots = pat.sample(buffer, pat_key, 16, cycle, SCORING, PRIORITY)
        rows = jax.random.randint(passive_key, (16,), 0, len(demos["states"]))
        batch = jax.tree.map(lambda a, b: jnp.concatenate([a, b[rows]]), pat.gather(buffer, slots), demos)
        updates, state = slow.update(jax.grad(world_model_loss)(theta, batch), state)
        return (optax.apply_updates(theta, updates), state, buffer), None

    return jax.lax.scan(step, (theta, optimizer_state, buffer), jax.random.split(key, 30))[0]


# %% [markdown]
# ## The loop
#
# All of PROWL in a dozen lines: act, score, pay, keep, learn, score anew. `kl_cost=None` is the
# control: the reference acts and never learns, with the same number of updates of the world model.


# %%
def prowl(kl_cost, cycles=CYCLES):
    theta, phi, buffer = theta_0, reference, new_buffer()
    theta_state, phi_state, log, valid = slow.init(theta), fast.init(phi), [], np.ones(ROWS, bool)
    for cycle in range(cycles):
        act_key, draw_key = jax.random.split(jax.random.fold_in(jax.random.key(0), cycle))
        clips = collect(phi, act_key)
        raw = {"regret": regret(theta, clips)}
        reward, _ = pat.composite_reward(buffer, raw, valid, SCORING)
        buffer = insert(buffer, clips, raw, valid, cycle, SCORING)
        kl = 0.0
        if kl_cost is not None:
            phi, phi_state, kl = hunt(phi, phi_state, clips, reward, kl_cost)
        theta, theta_state, buffer = mend(theta, theta_state, buffer, draw_key, cycle)
        buffer = rescore(buffer, {"regret": regret(theta, buffer.items)}, cycle)
        wet = np.asarray(clips["states"])[..., 0] > RIVER
        log.append((float(raw["regret"].mean()), wet.any(1).mean(), float(kl)))
    return {"theta": theta, "buffer": buffer, "clips": clips, "log": np.array(log)}


arms = {"reference": prowl(None), "kl_cost 0.3": prowl(0.3), "no anchor": prowl(0.0)}

# %% [markdown]
# Nobody told the adversary where to go, yet it found the river: it is where regret is. Without an
# anchor half of its walks end there, and the others lead straight to the edge of the table, as
# nobody's do; with one it still behaves much like a demonstrator, and gets wet some four times as
# often as one.

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3.3))
for axis, (name, arm) in zip(axes, arms.items(), strict=True):
    regrets, wet, kl = arm["log"].T
    show(axis, arm["clips"], f"{name}: {kl[-1]:.2f} nats away,\n{100 * wet[-5:].mean():.0f} % get wet", "tab:red")
plt.show()

# %% [markdown]
# ## What the buffer holds
#
# On the left what it was fed, cycle by cycle. On the right the chance of each clip to be drawn
# next: higher where the model is still wrong, and never nothing, since what was not drawn for
# long comes back too.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 2.6))
for name, arm in arms.items():
    axes[0].plot(arm["log"][:, 0], label=name)
    probability = pat.distribution(arm["buffer"], len(arm["log"]), SCORING, PRIORITY)
    axes[1].scatter(arm["buffer"].raw["regret"], probability, s=8)
axes[0].set(title="regret of what was shown", xlabel="cycle")
axes[1].set(title="what is replayed", xlabel="regret of a clip, now", ylabel="probability")
axes[0].legend(fontsize=7)
plt.show()

# %% [markdown]
# ## Was the world model mended?
#
# The same visitors as before, for whom nobody trained.

# %%
print(f"{'':12} held out    wet    dry")
for name, values in {"before": before, **{name: judge(arm["theta"]) for name, arm in arms.items()}}.items():
    print(f"{name:12} {values['held out']:8.3f} {values['wet']:6.3f} {values['dry']:6.3f}")

# %% [markdown]
# In the river the error falls, from about 0.8 to 0.4 and less. On dry land and among held-out
# demonstrations, where it was small, it grows: to two to four times as much under the control, to
# four to eight times under the adversaries. Every batch that is spent on rarities is not spent on the
# rest. Even the control mends much, since the buffer keeps the few clips in which somebody slipped
# into the river. This is one seed, so do not read the order of the arms off it; a comparison takes
# several seeds and intervals (`prowl_jax.metrics`), and a control with the same computing, as here.
#
# ## In your project
#
# 1. Write `regret(theta, clips) -> [B]` for your model; for latents of video, `pat.latent_regret`
#    is the paper's. Further scores are further names in `Scoring`.
# 2. Make the buffer with `pat.init` from the shapes of one clip: any pytree.
# 3. Give your policy's logits to `rl.ppo_loss`, with those of a frozen copy. Begin with a
#    `kl_cost` that keeps the divergence below half a nat, and look at what the policy does.
# 4. `pat.make_rescore` scores anew only what is due, for models whose dreams are expensive.
#
# `dir(pat)` and `dir(rl)` list what is public; `docs/api` describes it, and `docs/choices.md`
# says where the paper leaves a choice.
