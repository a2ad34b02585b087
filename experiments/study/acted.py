"""What the policies of a seed do when they act on their own, in a world with events: ``acted.json``.

What the demonstrators leave out, or seldom do, is counted as an event (``does_back``, ...).

The scored steps of a cycle are too few to count what is rare. Here pi_ref (``frozen_reference``) and the last
policy of every arm that trains one act for ``study.event_steps`` steps in ``study.event_rounds`` times
``phase2.trajectories`` environments, reset from seeds that no arm has learned from, after ``phase2.warm_up``
steps of pi_ref. Starts and chance are the same for all of them.
"""

import functools
import json

import jax
import numpy as np

from experiments.run.files import write_json
from experiments.run.progress import Progress
from experiments.stages import build, phase2
from experiments.stages.arms import CONTROL
from prowl_jax.envs.device import keys
from prowl_jax.methods.acting import events_of, make_act_out


@functools.partial(jax.jit, static_argnames=("policy", "warm_up", "steps", "to_env"))
def act_freely(env, policy, params, reference, env_keys, key, *, warm_up, steps, to_env=None):
    """A policy in a ``DeviceEnv``; as in ``acting.collect``, its memory begins after the warm-up.

    Args:
      env: the ``DeviceEnv``. policy: the ``Policy`` of both ``params`` and ``reference``, pi_ref's parameters.
      env_keys: keys ``[B]`` that the environments are reset from; an episode that ends is followed by another.
      key: of the actions. warm_up: steps of pi_ref before; nothing is kept of them. steps: that are kept.
      to_env: from the policy's actions to the environment's; None where they are the same.

    Returns:
      (actions int32 ``[steps, B, A]``, KL(policy || pi_ref) in nats ``[steps, B]``, event -> bool ``[steps, B]``).
    """

    def keep(seen, actions, log_prob, value, after, kl):
        return actions, kl, events_of(after.info)

    act_out = make_act_out(policy, steps=steps, warm_up=warm_up, to_env=to_env, keep=keep, beside=True)
    _, rows, _ = act_out(env, params, reference, env_keys, key)
    return rows


def rates(spec, actions, kl, events):
    """What is kept of ``act_freely``: steps of all environments, means a step, and events in 1,000 steps."""
    return {
        "steps": int(np.size(kl)),
        "kl_to_reference": float(np.mean(kl)),
        "camera_speed": float(spec.camera_speed(actions).mean()),
        **{name: 1000.0 * float(np.mean(happened)) for name, happened in events.items()},
    }


def measure_acting(run, policies, reference, study, act=act_freely):
    """Write the ``rates`` of those who are not yet in ``acted.json``, or there with another number of steps.

    Args:
      run: the seed's. policies: arm -> parameters of its last policy. reference: those of pi_ref.
      study: the study's settings. act: as ``act_freely``.
    """
    config, p, path = run.config, run.config.phase2, run.workdir / "acted.json"
    acted = json.loads(path.read_text()) if path.exists() else {}
    seeds = np.concatenate([phase2.env_seeds(config, p.cycles + i) for i in range(study.event_rounds)])
    everyone = {CONTROL: reference, **policies}
    steps = study.event_steps * len(seeds)
    left = [arm for arm in everyone if acted.get(arm, {}).get("steps") != steps]
    if not left:
        return
    to_env, spec = build.action_maps(config)[0], build.spec_of(config)
    env = build.make_device_env(config, config.env.task)
    with Progress("acting", len(left)) as progress:
        for done, arm in enumerate(left, 1):
            actions, kl, events = act(
                env, build.make_policy(config), everyone[arm], reference, keys(seeds, len(seeds)),
                build.stage_key(config, "acting"), warm_up=p.warm_up, steps=study.event_steps, to_env=to_env,
            )  # fmt: skip
            actions = np.asarray(to_env(actions) if to_env else actions)
            things = {f"event_{name}": rate for name, rate in phase2.planted(config, spec, actions).items()}
            write_json(path, acted := {**acted, arm: {**rates(spec, actions, kl, events), **things}})
            progress.update(done)
