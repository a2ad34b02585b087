"""The loop of ``curriculum`` as one program, for an environment that lives on the device.

Collect, predict, score, PPO, insert, fine-tune and rescore, cycle after cycle, under one ``jit``: the
policy acts in a ``DeviceEnv`` inside a scan, demonstrations and PAT buffer stay on the device, and
nothing waits for Python. The numbers are those of ``curriculum.run_cycle`` with a host environment
around the same ``DeviceEnv`` (``envs.device.DeviceVectorEnv``) and ``adversary.collect``. All of it is
a pure function, so that ``jax.vmap`` runs several seeds side by side.
"""

from typing import Any

import jax
import jax.numpy as jnp

from prowl_jax.rl import categorical
from prowl_jax.train import curriculum as loop
from prowl_jax.types import Batch, Trajectory, pytree


@pytree
class Demonstrations:
    """The passive data, whole, on the device.

    Attributes:
      latents: float ``[F, h, w, C]``, of all frames one after the other. actions: int32 ``[F, A]``.
    """

    latents: jax.Array
    actions: jax.Array

    def clips(self, starts, length):
        """The ``length`` frames from each of ``starts`` (int, any shape) on, as a ``Batch``."""
        frames = starts[..., None] + jnp.arange(length)
        return Batch(self.latents[frames], self.actions[frames])


@pytree
class Plan:
    """What chance decides outside of the program, for each of its n cycles.

    Attributes:
      env_keys: keys ``[n, B]`` that the environments are reset from.
      passive_starts: int32 ``[n, updates, passive_rows]``, where the passive clips begin.
      draws: int32 ``[n]``, what is folded into the key of each: the cycle's number, unless draws were left out.
    """

    env_keys: jax.Array
    passive_starts: jax.Array
    draws: jax.Array


@pytree
class Cycle:
    """What a cycle leaves beside the state.

    Attributes:
      metrics: scalars, as of ``curriculum.run_cycle``.
      actions: int32 ``[B, T, A]``, what the policy did.
      finite: bool, whether all numbers of the state were finite after it.
    """

    metrics: dict
    actions: jax.Array
    finite: jax.Array


def make_collect(policy, *, length, warm_up=0, to_env=None):
    """``adversary.collect`` for a ``DeviceEnv``: a pure function, to be used under ``jit``.

    Returns:
      ``collect(env, params, warm_up_params, env_keys [B], key) -> Trajectory`` of ``length`` frames.
    """

    def collect(env, params, warm_up_params, env_keys, key):
        batch = env_keys.shape[0]

        def act(params, seen, t):
            memory, frames, previous, first = seen
            logits, value, memory = policy.apply(params, memory, frames[:, None], previous[:, None], first[:, None])
            logits = logits[:, 0]
            actions = categorical.sample(jax.random.fold_in(key, t), logits, policy.sizes)
            return actions, categorical.log_prob(logits, actions, policy.sizes), value[:, 0], memory

        def forgotten(frames):
            unknown = jnp.full((batch, len(policy.sizes)), -1, jnp.int32)
            return policy.initial_state(batch), frames, unknown, jnp.ones(batch, bool)

        def step(now, t):
            state, seen = now
            seen = _choose(t == warm_up, forgotten(seen[1]), seen)
            actions, log_prob, value, memory = act(_choose(t < warm_up, warm_up_params, params), seen, t)
            state, after = jax.vmap(env.step)(state, actions if to_env is None else to_env(actions))
            row = (seen[1], actions, seen[3], log_prob, value), after.done, _events(after.info)
            return (state, (memory, after.frame, actions, after.done)), row

        # One scan for the warm-up and what is kept, so that the environment is compiled once.
        def write(carry, t):
            now, rows = carry
            now, row = step(now, t)
            place = jnp.maximum(t - warm_up, 0)
            return (now, jax.tree.map(lambda many, one: many.at[place].set(one), rows, row)), None

        state, shown = jax.vmap(env.reset)(env_keys)
        now = state, forgotten(shown.frame)
        row = jax.eval_shape(step, now, 0)[1]
        rows = jax.tree.map(lambda x: jnp.zeros((length, *x.shape), x.dtype), row)
        steps = warm_up + length - 1
        ((_, seen), rows), _ = jax.lax.scan(write, (now, rows), jnp.arange(steps))
        # At the last frame the policy says what it would do, and nothing follows.
        seen = forgotten(seen[1]) if length == 1 else seen
        actions, log_prob, value, _ = act(params, seen, steps)
        last = seen[1], actions, seen[3], log_prob, value
        columns, done, events = rows
        columns = jax.tree.map(lambda many, one: many.at[-1].set(one), columns, last)
        columns, events = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), (columns, events))
        done = done.any(0) if length > 1 else jnp.zeros(batch, bool)
        return Trajectory(*columns, ~done, jnp.zeros(batch, bool), events or None)

    return collect


def make_program(programs, curriculum, collect, on_cycle=None):
    """n cycles in one program.

    Args:
      programs: from ``curriculum.make_programs``.
      collect: from ``make_collect``.
      on_cycle: ``f(cycle, metrics)``, called on the host, in order, as each cycle ends; None for no
        such call, which ``jax.vmap`` needs.

    Returns:
      ``run(env, demonstrations, state, fixed, reference, plan, key) -> (LoopState, Cycle)``, jitted, state
      donated. ``plan`` has a leading axis of n cycles, and so has the ``Cycle``. ``key`` is the same for
      every call: a cycle folds its draw into it, so that n cycles are the same in one call or in n.
    """

    def run(env, demonstrations, state, fixed, reference, plan, key):
        def one_cycle(state, plan):
            collect_key, cycle_key = jax.random.split(jax.random.fold_in(key, plan.draws))
            trajectory = collect(env, state.phi.params, reference, plan.env_keys, collect_key)
            passive = demonstrations.clips(plan.passive_starts, curriculum.window)
            state, explored = loop.explore(
                programs, curriculum, state, fixed, reference, trajectory, cycle_key
            )
            state, mended = loop.mend(programs, state, fixed, passive, cycle_key)
            metrics = {**explored, **mended}
            if on_cycle is not None:
                jax.debug.callback(on_cycle, state.cycle, metrics, ordered=True)
            return state, Cycle(metrics, trajectory.actions, _finite(state))

        return jax.lax.scan(one_cycle, state, plan)

    return jax.jit(run, donate_argnums=2)


def _events(info: dict[str, Any]):
    """The events of a step, by name."""
    return {name: value for name, value in info.items() if name.startswith("event_")}


def _finite(tree):
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def _choose(condition, one, other):
    """``one`` if ``condition``, else ``other``, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
