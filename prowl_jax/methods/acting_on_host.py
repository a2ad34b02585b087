"""A policy acts in a ``HostEnv`` and everything it did is kept, ends of episodes and all: ``make_act_out`` from Python.

``acting.collect`` keeps trajectories in which no episode ends; who learns from rewards wants the ends as well.
"""

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.envs.base import DeviceStep
from prowl_jax.envs.workers import EnvironmentFailure
from prowl_jax.methods.acting import Seen, afresh, make_act


def make_host_act_out(policy, *, steps, keep):
    """As ``acting.make_act_out`` without a warm-up, for a ``HostEnv`` and not under ``jit``.

    Args:
      steps: of the environment. keep: ``f(seen, actions, log_prob, value, after, kl)``, what of a step is returned; it
        sees arrays of a whole group, ``after`` is a ``DeviceStep`` of them and ``kl`` None.

    Returns:
      ``act_out(env, params, warm_up_params, env_keys [B], key) -> (Seen after the last step, rows [steps, B, ...], done
      [steps, B])``; ``env.num_envs`` rows are acted at a time, each group from a key of its own.
    """
    act = make_act(policy)

    def group(env, params, seeds, key):
        first = env.reset(seeds)
        seen, rows = afresh(policy, first.frames.copy()), []
        for t in range(steps):
            actions, log_prob, value, memory = act(params, seen, jax.random.fold_in(key, t))
            actions = np.asarray(actions)
            step = env.step(actions)
            if np.any(step.info.get("broken", False)):  # what it counts is no life that was lived
                raise EnvironmentFailure("a game broke while a policy acted in it")
            done = step.done.copy()
            after = DeviceStep(step.frames.copy(), done, {name: x.copy() for name, x in step.info.items()})
            rows.append((keep(seen, actions, log_prob, value, after, None), done))
            seen = Seen(memory, after.frame, actions, done)
        return seen, jax.tree.map(lambda *x: np.stack(x), *rows)

    def act_out(env, params, warm_up_params, env_keys, key):
        del warm_up_params
        seeds, parts = seeds_of(env_keys), []
        for begin in range(0, len(seeds), env.num_envs):
            own = np.resize(seeds[begin:], env.num_envs)  # the last group is filled up with its own
            parts.append(group(env, params, own, jax.random.fold_in(key, begin)))
        seen = jax.tree.map(lambda *x: jnp.concatenate(x)[: len(seeds)], *(part[0] for part in parts))
        rows, done = jax.tree.map(lambda *x: np.concatenate(x, 1)[:, : len(seeds)], *(part[1] for part in parts))
        return seen, rows, done

    return act_out


def seeds_of(env_keys):
    """A seed for each key ``[B]``: int64 ``[B]`` of 63 bits."""
    halves = np.asarray(jax.random.key_data(env_keys)).astype(np.uint64)
    return ((halves[:, 0] << np.uint64(32) | halves[:, 1]) & np.uint64(2**63 - 1)).astype(np.int64)
