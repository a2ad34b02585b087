"""A policy acts, after a warm-up by another: the one loop, for environments on the host and on the device.

    for t in 0 .. warm_up + length - 1:
        a    ~ pi(. | frames so far)      pi is the warm-up's policy while t < warm_up, then the policy itself
        o'   = environment(a)

What is kept begins after the warm-up, and the policy's memory with it: learning, which sees the trajectory alone,
then sees what acting saw. Of ``branches`` k each k rows begin in the same state: on the device their warm-up is acted
once and the state copied, elsewhere it is acted by each from the same seed with the same actions. ``collect`` runs
the loop from Python around a ``HostEnv``; ``make_act_out`` is a pure function of a ``DeviceEnv``, to be used under
``jit``. The rules are the same functions, and so are the actions.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.envs.base import grouped
from prowl_jax.rl import categorical
from prowl_jax.spans import kept, program
from prowl_jax.types import Trajectory, pytree


@pytree
class Seen:
    """What a policy knows when it acts.

    Attributes:
      memory: the policy's. frames: uint8 ``[n, H, W, 3]``.
      previous: int32 ``[n, A]``, the actions that led here, -1 where none did.
      first: bool ``[n]``, True where an episode starts.
    """

    memory: Any
    frames: Any
    previous: Any
    first: Any


def afresh(policy, frames):
    """``Seen`` with a cleared memory, as at the beginning of an episode."""
    rows = frames.shape[0]
    unknown = np.full((rows, len(policy.sizes)), -1, np.int32)
    return Seen(policy.initial_state(rows), frames, unknown, np.ones(rows, bool))


def _said(policy, params, seen, leader=None, leads=None):
    """One step of the policy: logits ``[n, sum(sizes)]``, value ``[n]``, memory.

    Where ``leads``, bool ``[n]``, it is a step of the policy of the parameters ``leader``.
    """
    one_step = seen.frames[:, None], seen.previous[:, None], seen.first[:, None]
    logits, value, memory = policy.apply(params, seen.memory, *one_step)
    said = logits[:, 0], value[:, 0], memory
    if leader is None:
        return said
    theirs = _said(policy, leader, seen)
    return jax.tree.map(lambda a, b: jnp.where(leads.reshape(-1, *[1] * (b.ndim - 1)), a, b), theirs, said)


@kept
def make_act(policy):
    """``act(params, seen, key, start=0, total=None, alike=1, leader=None, every=1)``, jitted.

    The n rows of ``seen`` are ``start..start+n-1`` of ``total`` (None: of n), and draw what they would draw if all
    were there: chance does not depend on how rows are grouped. Compiled once for each n. Each ``alike`` rows see the
    same, and draw the same; of each ``every`` the first is acted by the policy of the parameters ``leader``.

    Returns (actions ``[n, A]``, log_prob ``[n]``, value ``[n]``, memory).
    """

    @functools.partial(jax.jit, static_argnames=("total", "alike"))
    def act(params, seen, key, start=0, total=None, alike=1, leader=None, every=1):
        place = start + jnp.arange(len(seen.frames))
        logits, value, memory = _said(policy, params, seen, leader, place % every == 0)
        whole = jnp.zeros(((total or len(logits)) // alike, logits.shape[1]), logits.dtype)
        if alike == 1:
            whole = jax.lax.dynamic_update_slice_in_dim(whole, logits, start, axis=0)
            actions = categorical.sample(key, whole, policy.sizes)
            actions = jax.lax.dynamic_slice_in_dim(actions, start, len(logits))
        else:
            actions = categorical.sample(key, whole.at[place // alike].set(logits), policy.sizes)[place // alike]
        return actions, categorical.log_prob(logits, actions, policy.sizes), value, memory

    return program(act)


def collect(
    env, act, policy, params, key, *, seeds, length, warm_up=0, warm_up_params=None, to_env=None, check=None,
    branches=1, reference_leads=False,
):  # fmt: skip
    """Let a policy act in the real environments for one trajectory each.

    Every environment is reset from ``seeds``, so that a cycle can be repeated exactly. During
    ``warm_up`` steps the reference (``warm_up_params``) acts and nothing is kept but its
    actions; then the trajectory begins and the policy's memory with it. Where the environment
    reports ``info["broken"]``, in the warm-up or later, the trajectory is not valid. ``to_env``
    turns the policy's actions into those of ``env.spec``, where the policy has factors of its own
    (VPT's joint indices); the trajectory holds the policy's. ``check()`` is called before every step;
    what it raises ends the collection.

    Of ``branches`` k each k seeds must be the same: their environments then do the same until the warm-up ends. Where
    ``reference_leads``, the first of each k is acted by the reference all along.

    Where the environments come in groups (``envs.base.GroupedEnv``), the others step while the policy acts
    in one. The trajectories are the same, but for the rounding of another batch size.

    Args:
      env: a ``HostEnv``. act: from ``make_act``, of ``policy``.

    Returns:
      (``Trajectory`` of ``length`` frames as numpy arrays ``[N, T, ...]``,
       warm-up actions int32 ``[N, warm_up, A]``).
    """
    if env.num_envs % branches:
        raise ValueError(f"{env.num_envs} environments are not whole groups of {branches} branches")
    env = grouped(env)
    start = env.reset(seeds)
    players = [_Player(act, policy, rows, env.num_envs, start.frames[rows]) for rows in env.groups]
    alike = {"alike": branches} if branches > 1 else {}
    led = {"leader": warm_up_params, "every": branches} if reference_leads else {}
    steps = warm_up + length
    for t in range(steps):
        if check is not None:
            check()
        kept = t >= warm_up
        for group, player in enumerate(players):
            if t > 0:
                player.see(env.receive(group), t > warm_up)
            if t == warm_up:
                player.forget()
            now_key = jax.random.fold_in(key, t)
            if kept:
                actions = player.act(params, now_key, kept, **led)
            else:
                actions = player.act(warm_up_params, now_key, kept, **alike)
            if t < steps - 1:
                env.send(actions if to_env is None else to_env(actions), group)
    trajectories = [player.trajectory() for player in players]
    return jax.tree.map(lambda *parts: np.concatenate(parts), *trajectories)


class _Player:
    """The policy in one group of environments: what it remembers, and what it has seen and done."""

    def __init__(self, act, policy, rows, total, frames):
        self._act, self._policy, self._start, self._total = act, policy, rows.start, total
        self._n = rows.stop - rows.start
        self._columns, self._events, self._warm_up_actions = [], [], []
        self._valid, self._broken = np.ones(self._n, bool), np.zeros(self._n, bool)
        self._seen = afresh(policy, frames)

    def forget(self):
        """Clear the memory, as at the beginning of an episode."""
        self._seen = afresh(self._policy, self._seen.frames)

    def see(self, step, kept):
        """What the last action led to; ``kept`` where that belongs to the trajectory."""
        self._seen = Seen(self._seen.memory, step.frames, self._seen.previous, step.done)
        self._broken |= step.info.get("broken", False)
        if kept:
            self._valid &= ~step.done
            self._events.append(events_of(step.info))

    def act(self, params, key, kept, **branches):
        """The next actions, int32 ``[n, A]``; ``branches`` as of ``make_act``."""
        seen = self._seen
        actions, log_prob, value, memory = self._act(params, seen, key, self._start, total=self._total, **branches)
        actions = np.asarray(actions)
        if kept:
            self._columns.append((seen.frames, actions, seen.first, np.asarray(log_prob), np.asarray(value)))
        else:
            self._warm_up_actions.append(actions)
        self._seen = Seen(memory, seen.frames, actions, seen.first)
        return actions

    def trajectory(self):
        """(``Trajectory`` of the group, warm-up actions)."""
        columns = (np.stack(column, axis=1) for column in zip(*self._columns, strict=True))
        frames, actions, firsts, log_probs, values = columns
        warm = np.stack(self._warm_up_actions, axis=1) if self._warm_up_actions else actions[:, :0]
        valid = self._valid & ~self._broken
        events = _by_name(self._events)
        return Trajectory(frames, actions, firsts, log_probs, values, valid, self._broken, events), warm


def _by_name(events):
    """Events of each step ``{name: [N]}`` -> ``{name: [N, T]}``, nothing after the last frame; None for none."""
    names = events[0] if events else {}
    nothing = {name: np.zeros_like(happened) for name, happened in names.items()}
    return {name: np.stack([e[name] for e in (*events, nothing)], axis=1) for name in names} or None


def events_of(info):
    """The ground-truth events of a step, by name."""
    return {name: value for name, value in info.items() if name.startswith("event_")}


def event_rates(trajectory):
    """name -> how often each ground-truth event happened in 1,000 steps of the valid trajectories."""
    return _rates(trajectory.valid, trajectory.events or {}, trajectory.actions.shape[1] - 1)


@functools.partial(jax.jit, static_argnames="steps")
def _rates(valid, events, steps):
    valid = jnp.asarray(valid).astype(jnp.float32)
    total = jnp.maximum(valid.sum(), 1.0) * steps
    return {name: 1000.0 * jnp.sum(valid @ jnp.asarray(e).astype(jnp.float32)) / total for name, e in events.items()}


def make_act_out(
    policy, *, steps, warm_up=0, to_env=None, keep, beside=False, branches=1, reference_leads=False
):
    """The loop in a ``DeviceEnv``, under ``jit``: a pure function.

    Args:
      steps: steps of the environment that are kept, after ``warm_up`` of them.
      to_env: from the policy's actions to the environment's; None where they are the same.
      keep: ``f(seen, actions, log_prob, value, after, kl)``, what of a kept step is returned: ``after`` is the
        ``DeviceStep``, ``kl`` the divergence below.
      beside: run the warm-up's policy beside the other all the time, for KL(policy || it) in nats ``[B]``; else None.
      branches: k; each k keys must be the same. Their warm-up is acted once, then its state is copied.
      reference_leads: the first of each k is acted by the warm-up's policy all along.

    Returns:
      ``act_out(env, params, warm_up_params, env_keys [B], key) -> (Seen after the last step, rows [steps, ...], done
      [steps, B])``. The policy that acts in step t draws from ``fold_in(key, t)``.
    """

    def act_out(env, params, warm_up_params, env_keys, key):
        def step(now, t):
            state, seen, memory_beside = now
            begins, rows = t == warm_up, len(seen.frames)
            memory_beside = _choose(begins, policy.initial_state(rows), memory_beside) if beside else None
            seen = _choose(begins, afresh(policy, seen.frames), seen)
            led = (warm_up_params, jnp.arange(rows) % branches == 0) if reference_leads else ()
            logits, value, memory = _said(policy, _choose(t < warm_up, warm_up_params, params), seen, *led)
            actions = categorical.sample(jax.random.fold_in(key, t), logits, policy.sizes)
            kl = None
            if beside:
                theirs = Seen(memory_beside, seen.frames, seen.previous, seen.first)
                anchor, _, memory_beside = _said(policy, warm_up_params, theirs)
                kl = categorical.kl(logits, anchor, policy.sizes)
            state, after = jax.vmap(env.step)(state, actions if to_env is None else to_env(actions))
            row = keep(seen, actions, categorical.log_prob(logits, actions, policy.sizes), value, after, kl)
            return (state, Seen(memory, after.frame, actions, after.done), memory_beside), (row, after.done)

        # One scan for the warm-up and what is kept, so that the environment is compiled once. Where branches have fewer
        # warm-ups than rows there are two.
        def write(carry, t):
            now, rows = carry
            now, row = step(now, t)
            place = jnp.maximum(t - warm_up, 0)
            return (now, jax.tree.map(lambda many, one: many.at[place].set(one), rows, row)), None

        state, shown = jax.vmap(env.reset)(env_keys[::branches])
        now = state, afresh(policy, shown.frame), policy.initial_state(len(shown.frame)) if beside else None
        begin = 0
        if branches > 1:
            now, _ = jax.lax.scan(lambda now, t: (step(now, t)[0], None), now, jnp.arange(warm_up))
            now, begin = jax.tree.map(lambda x: jnp.repeat(x, branches, axis=0), now), warm_up
        row = jax.eval_shape(step, now, 0)[1]
        rows = jax.tree.map(lambda x: jnp.zeros((max(steps, 1), *x.shape), x.dtype), row)
        ((_, seen, _), rows), _ = jax.lax.scan(write, (now, rows), jnp.arange(begin, warm_up + steps))
        return seen, *jax.tree.map(lambda x: x[:steps], rows)

    return act_out


def make_collect(policy, *, length, warm_up=0, to_env=None, branches=1, reference_leads=False):
    """``collect`` for a ``DeviceEnv``: a pure function, to be used under ``jit``; arguments as of ``make_act_out``.

    Returns:
      ``collect(env, params, warm_up_params, env_keys [B], key) -> Trajectory`` of ``length`` frames.
    """

    def keep(seen, actions, log_prob, value, after, kl):
        del kl
        return (seen.frames, actions, seen.first, log_prob, value), events_of(after.info)

    steps = length - 1
    act_out = make_act_out(
        policy, steps=steps, warm_up=warm_up, to_env=to_env, keep=keep, branches=branches,
        reference_leads=reference_leads,
    )  # fmt: skip

    def collect(env, params, warm_up_params, env_keys, key):
        seen, (columns, events), done = act_out(env, params, warm_up_params, env_keys, key)
        if length == 1:  # only the warm-up was acted
            seen = afresh(policy, seen.frames)
        # At the last frame the policy says what it would do, and nothing follows.
        led = (warm_up_params, jnp.arange(len(env_keys)) % branches == 0) if reference_leads else ()
        logits, value, _ = _said(policy, params, seen, *led)
        actions = categorical.sample(jax.random.fold_in(key, warm_up + steps), logits, policy.sizes)
        log_prob = categorical.log_prob(logits, actions, policy.sizes)
        last = seen.frames, actions, seen.first, log_prob, value
        columns = jax.tree.map(lambda many, one: jnp.concatenate([many, one[None]]), columns, last)
        events = jax.tree.map(lambda many: jnp.concatenate([many, jnp.zeros_like(many[:1])]), events)
        columns, events = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), (columns, events))
        batch = env_keys.shape[0]
        return Trajectory(*columns, ~done.any(0), jnp.zeros(batch, bool), events or None)

    return collect


def _choose(condition, one, other):
    """``one`` if ``condition``, else ``other``, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
