"""Cycles of a method as one program, for an environment that lives on the device.

``Method.cycle`` is traced as it is, cycle after cycle, under one ``jit``: the policy acts in a ``DeviceEnv`` inside a
scan, demonstrations and state stay on the device, and nothing waits for Python. The numbers are those of the same
method called from Python with a host environment around the same ``DeviceEnv`` (``envs.device.DeviceVectorEnv``) and
``acting.collect``. All of it is a pure function, so that ``jax.vmap`` runs several seeds side by side.
"""

import dataclasses

import jax
import jax.numpy as jnp

from prowl_jax import spans
from prowl_jax.methods.acting import make_collect
from prowl_jax.types import Batch, pytree


@pytree
class Demonstrations:
    """The passive data, whole, on the device.

    Attributes:
      latents: float ``[F, h, w, C]``, of all frames one after the other, or, where frames are their own latents, these
        (uint8). actions: int32 ``[F, A]``.
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
      env_keys: keys ``[n, B]`` that the environments are reset from, of branches each the same for a group.
      passive_starts: int32 ``[n, updates, rows]``, where the clips of the demonstrations begin.
      draws: int32 ``[n]``, what is folded into the key of each: the cycle's number, unless draws were left out.
    """

    env_keys: jax.Array
    passive_starts: jax.Array
    draws: jax.Array


@pytree
class Cycle:
    """What a cycle leaves beside the state.

    Attributes:
      metrics: scalars, as of ``Method.cycle``.
      actions: int32 ``[B, T, A]``, what the policy did; None where none acts.
      finite: bool, whether all numbers of the state were finite after it.
    """

    metrics: dict
    actions: jax.Array
    finite: jax.Array


class DeviceSource:
    """A cycle's ``Source`` inside a program.

    Attributes:
      trajectory: what the policy did; None as long as none acted.
    """

    def __init__(self, act, demonstrations):
        self._act, self._demonstrations, self.trajectory = act, demonstrations, None

    def act(self, params):
        """A ``Trajectory`` of the policy."""
        self.trajectory = self._act(params)
        return self.trajectory

    def policy_is_final(self, params):
        """Nothing begins before its turn."""

    def demonstrations(self):
        """A ``Batch`` with leaves ``[updates, rows, ...]``."""
        return self._demonstrations()


def make_program(method):
    """n cycles of a method in one program.

    Returns:
      ``run(env, demonstrations, state, start, plan, key) -> (state, Cycle)``, jitted, state
      donated. ``plan`` has a leading axis of n cycles, and so has the ``Cycle``. ``key`` is the same for
      every call: a cycle folds its draw into it, so that n cycles are the same in one call or in n.
    """
    shared, needs = method.shared, method.needs()
    collect = None
    if needs.acts:
        budget = shared.budget
        collect = make_collect(
            shared.policy, length=shared.trajectory_length, warm_up=budget.warm_up, to_env=shared.to_env,
            branches=budget.branches, reference_leads=budget.reference_leads,
        )  # fmt: skip

    def clips_of(demonstrations, starts):
        clips = demonstrations.clips(starts, needs.length)
        return dataclasses.replace(clips, latents=shared.world_model.from_kept(clips.latents))

    def run(env, demonstrations, state, start, plan, key):
        def one_cycle(state, plan):
            collect_key, cycle_key = jax.random.split(jax.random.fold_in(key, plan.draws))
            source = DeviceSource(
                lambda params: collect(env, params, start.reference, plan.env_keys, collect_key),
                lambda: clips_of(demonstrations, plan.passive_starts),
            )
            state, metrics = method.cycle(state, start, source, cycle_key)
            acted = source.trajectory and source.trajectory.actions
            return state, Cycle(metrics, acted, _finite(state))

        return jax.lax.scan(one_cycle, state, plan)

    return spans.program(jax.jit(run, donate_argnums=2))


def _finite(tree):
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
