"""Recordings of scripted demonstrators, who act in any environment of the host."""

import itertools

import numpy as np


def record(env, make, frames_per_episode, episodes, seed, on_progress=None):
    """Let demonstrators act in ``env`` and yield what happened.

    Args:
      env: a ``HostEnv``; its N environments record side by side. An episode in which it reports ``"broken"`` is
        dropped, and another one recorded for it.
      make: ``make() -> demonstrator``, one for each environment: ``reset(seed)``, then ``act(pose, frame)`` gives
        the action, int32 ``[A]``. ``pose`` is what the environment's info says (its ``"observation"``, where it
        knows no pose), None where it says nothing.
      frames_per_episode: T; an episode that ends early is yielded shorter.
      episodes: how many to yield.
      seed: the same seed gives the same recordings, for a given N.
      on_progress: called with the number of frames recorded so far, now and then.

    Yields:
      (frames uint8 ``[T, H, W, 3]``, actions int32 ``[T, A]``), ``actions[t]`` being done on
      seeing ``frames[t]``.
    """
    if frames_per_episode < 1 or episodes < 1:
        raise ValueError(
            f"frames_per_episode and episodes must be positive, got {frames_per_episode}, {episodes}"
        )
    n, total = env.num_envs, 0
    actors = [make() for _ in range(n)]
    frames = np.empty((frames_per_episode, n, *env.frame_shape), np.uint8)
    actions = np.empty((frames_per_episode, n, len(env.spec.factors)), np.int32)
    made = 0
    for round_ in itertools.count():
        seeds = np.random.SeedSequence([seed, round_]).generate_state(2 * n)
        step, lengths = env.reset(seeds[:n]), np.full(n, frames_per_episode)
        broken = np.zeros(n, bool) | step.info.get("broken", False)
        for actor, s in zip(actors, seeds[n:], strict=True):
            actor.reset(int(s))
        for t in range(frames_per_episode):
            frames[t], poses = step.frames, step.info.get("pose", step.info.get("observation", [None] * n))
            for i, actor in enumerate(actors):
                actions[t, i] = actor.act(poses[i], step.frames[i])
            step = env.step(actions[t])
            # What follows an end is another episode; it is not kept.
            lengths = np.where(step.done & (lengths > t), t + 1, lengths)
            broken |= step.info.get("broken", False)
        for i in np.flatnonzero(~broken)[: episodes - made]:
            made += 1
            total += int(lengths[i])
            if on_progress is not None:
                on_progress(total)
            yield frames[: lengths[i], i].copy(), actions[: lengths[i], i].copy()
        if made == episodes:
            return
