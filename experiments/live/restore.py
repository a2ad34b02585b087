"""The state of the environment in which a clip of the PAT buffer began, made again.

A buffer keeps what was seen, not the environment's state. But all chance of a cycle is known: the seeds that its
environments were reset from, and the key that the warm-up's policy, pi_ref, drew from. So the warm-up of the cycle in
which a clip was found is acted again; the row whose first frame is the clip's is where it began.
"""

import jax
import numpy as np

from experiments.live.session import Place
from experiments.stages import build
from experiments.stages.phase2 import env_seeds, starting_point
from prowl_jax.methods.acting import collect, make_act


def place_of(run, clip, cycle):
    """The ``Place`` of a clip (frames ``[T, H, W, 3]``, actions ``[T, A]``) found in ``cycle``.

    None where it cannot be made: the environment is in a process, or no row looks like the clip, as where a cycle was
    drawn anew after numbers that were not finite.
    """
    config = run.config
    if not build.make_environment(config).on_device():
        return None
    method = build.make_method(config, next(iter(build.arms(config))))
    shared, budget, start = method.shared, method.shared.budget, starting_point(run)
    key, _ = jax.random.split(jax.random.fold_in(build.stage_key(config, "phase2"), cycle))
    env = build.make_env(config, config.env.task, budget.trajectories)
    try:
        trajectory, _ = collect(
            env, make_act(shared.policy), shared.policy, start.reference, key, seeds=env_seeds(config, cycle),
            length=1, warm_up=budget.warm_up, warm_up_params=start.reference, to_env=shared.to_env,
        )  # fmt: skip
        rows = np.flatnonzero((trajectory.frames[:, 0] == clip.frames[0]).all(axis=(1, 2, 3)))
        if not len(rows):
            return None
        state = jax.tree.map(lambda x: x[int(rows[0])], env.state)
    finally:
        env.close()
    seen = shared.world_model.frames_of(budget.context)
    return Place(state, np.asarray(clip.actions[:seen], np.int32))
