"""Demonstrations: a task's demonstrators act side by side in one scan, and what they saw and did is recorded."""

import dataclasses
import functools
from collections.abc import Callable
from typing import cast

import jax
import numpy as np

from prowl_jax.envs import held_keys as kinds
from prowl_jax.envs.device import keys
from prowl_jax.envs.gaps import Gaps
from prowl_jax.envs.voxel import gatherer, held_keys, scripted
from prowl_jax.envs.voxel.tasks import TASKS, Behaviour, make_world
from prowl_jax.envs.voxel.world import SPEC

PLAYERS = {
    "travel": dataclasses.replace(cast(Behaviour, TASKS["stroll"].behaviour), care=1.0),
    "gather_logs": gatherer.Gatherer(cast(Behaviour, TASKS["wander"].behaviour)),
}
"""Goal of ``goals.GOALS`` -> who shows how it is reached."""


@functools.partial(jax.jit, static_argnames=("steps", "gaps"))
def demonstrate(
    env, behaviour: Behaviour | kinds.Chords | gatherer.Gatherer, seeds, *, steps: int, gaps: Gaps | None = None
):
    """Let N demonstrators act for ``steps`` steps in one scan.

    Args:
      env: a ``VoxelWorld``.
      behaviour: what they do: a walker's ``Behaviour``, a ``Gatherer``'s, or chords of keys.
      seeds: typed keys ``[N]``.
      steps: T.
      gaps: what a walker leaves out; chords have theirs in them.

    Returns:
      (frames uint8 ``[T, N, H, W, 3]``, actions int32 ``[T, N, A]``, done bool ``[T, N]``, info of the
      step that each action was, arrays ``[T, N, ...]``); ``actions[t]`` is done on seeing ``frames[t]``.
    """
    begin: Callable
    do: Callable
    if isinstance(behaviour, kinds.Chords):
        begin, do = held_keys.start, functools.partial(held_keys.act, behaviour)
    elif isinstance(behaviour, gatherer.Gatherer):
        begin, do = gatherer.start, functools.partial(gatherer.act, behaviour)
    else:
        begin, do = functools.partial(scripted.start, gaps=gaps), functools.partial(scripted.act, behaviour, gaps=gaps)
    state, first = jax.vmap(env.reset)(seeds)
    actors = jax.vmap(lambda key: begin(jax.random.fold_in(key, 0x5EED)))(seeds)

    def body(carry, _):
        state, frame, actors = carry
        actors, actions = jax.vmap(do)(actors, state)
        state, step = jax.vmap(env.step)(state, actions)
        return (state, step.frame, actors), (frame, actions, step.done, step.info)

    return jax.lax.scan(body, (state, first.frame, actors), None, length=steps)[1]


def behaviour_of(task: str, gaps: Gaps | None = None):
    """What the demonstrator of ``task`` does, for ``demonstrate``; ValueError where it cannot leave out ``gaps``."""
    behaviour = TASKS[task].behaviour
    if isinstance(behaviour, str):
        return kinds.KINDS[behaviour](SPEC, gaps)
    return behaviour


def record(task, frames_per_episode, episodes, seed, on_progress=None, *, gaps=None, num_envs=16, **settings):
    """Record the demonstrator of ``task``, as ``envs.demonstrators.record`` does for other worlds.

    Args:
      task: key of ``tasks.TASKS``.
      frames_per_episode: T; an episode that ends early is yielded shorter.
      episodes: how many to yield.
      seed: the same seed gives the same recordings, for a given ``num_envs``.
      on_progress: called with the number of frames recorded so far.
      gaps: ``Gaps`` that the demonstrator leaves out; for the task ``control``, that it does instead.
      num_envs: how many record side by side.
      **settings: of ``tasks.make_world``, whose ``seed`` (of the worlds) is ``world_seed`` here.

    Yields:
      (frames uint8 ``[T, H, W, 3]``, actions int32 ``[T, A]``), ``actions[t]`` being done on
      seeing ``frames[t]``.

    Raises:
      ValueError: an unknown task, lengths that are not positive, or gaps that the task cannot have.
    """
    if frames_per_episode < 1 or episodes < 1:
        raise ValueError(f"frames_per_episode and episodes must be positive, got {frames_per_episode}, {episodes}")
    env = make_world(task, seed=settings.pop("world_seed", 0), **settings)
    behaviour = behaviour_of(task, gaps)
    total = 0
    for round_ in range(-(-episodes // num_envs)):
        seeds = np.random.SeedSequence([seed, round_]).generate_state(num_envs)
        recorded = demonstrate(env, behaviour, keys(seeds, num_envs), steps=frames_per_episode, gaps=gaps)
        frames, actions, done = map(np.asarray, recorded[:3])
        # What follows an end is another episode; it is not kept.
        lengths = np.where(done.any(axis=0), done.argmax(axis=0) + 1, frames_per_episode)
        for i in range(min(num_envs, episodes - round_ * num_envs)):
            total += int(lengths[i])
            if on_progress is not None:
                on_progress(total)
            yield frames[: lengths[i], i].copy(), actions[: lengths[i], i].copy()
