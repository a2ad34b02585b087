"""What the policies of a seed do when they act on their own, in the voxel world: ``acted.json``.

The scored steps of a cycle are too few to count what is rare. Here pi_ref (``frozen_reference``) and the last
policy of every arm that trains one act for ``study.event_steps`` steps in ``study.event_rounds`` times
``phase2.trajectories`` environments, reset from seeds that no arm has learned from, after ``phase2.warm_up``
steps of pi_ref. Starts and chance are the same for all of them.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np

from experiments.run.files import write_json
from experiments.run.progress import Progress
from experiments.stages import build, phase2
from prowl_jax.envs.device import keys
from prowl_jax.rl import categorical


@functools.partial(jax.jit, static_argnames=("policy", "warm_up", "steps", "to_env"))
def act_freely(env, policy, params, reference, env_keys, key, *, warm_up, steps, to_env=None):
    """A policy in a ``DeviceEnv``; as in ``adversary.collect``, its memory begins after the warm-up.

    Args:
      env: the ``DeviceEnv``. policy: the ``Policy`` of both ``params`` and ``reference``, pi_ref's parameters.
      env_keys: keys ``[B]`` that the environments are reset from; an episode that ends is followed by another.
      key: of the actions. warm_up: steps of pi_ref before; nothing is kept of them. steps: that are kept.
      to_env: from the policy's actions to the environment's; None where they are the same.

    Returns:
      (actions int32 ``[steps, B, A]``, KL(policy || pi_ref) in nats ``[steps, B]``, event -> bool ``[steps, B]``).
    """
    batch = env_keys.shape[0]
    unknown = jnp.full((batch, len(policy.sizes)), -1, jnp.int32)

    def step(now, t):
        state, memories, frames, previous, first = now
        begins = t == warm_up
        seen = frames, jnp.where(begins, unknown, previous), first | begins
        seen = jax.tree.map(lambda x: x[:, None], seen)
        said = [policy.apply(p, memory, *seen) for p, memory in zip((params, reference), memories, strict=True)]
        own, anchor = (logits[:, 0] for logits, _, _ in said)
        actions = categorical.sample(jax.random.fold_in(key, t), jnp.where(t < warm_up, anchor, own), policy.sizes)
        state, after = jax.vmap(env.step)(state, actions if to_env is None else to_env(actions))
        events = {name: value for name, value in after.info.items() if name.startswith("event_")}
        now = state, tuple(memory for _, _, memory in said), after.frame, actions, after.done
        return now, (actions, categorical.kl(own, anchor, policy.sizes), events)

    state, shown = jax.vmap(env.reset)(env_keys)
    now = state, (policy.initial_state(batch),) * 2, shown.frame, unknown, jnp.ones(batch, bool)
    _, rows = jax.lax.scan(step, now, jnp.arange(warm_up + steps))
    return jax.tree.map(lambda x: x[warm_up:], rows)


def rates(spec, actions, kl, events):
    """What is kept of ``act_freely``: steps of all environments, means a step, and events in 1,000 steps."""
    return {
        "steps": int(np.size(kl)),
        "kl_to_reference": float(np.mean(kl)),
        "camera_speed": float(spec.camera_speed(actions).mean()),
        **{name: 1000.0 * float(np.mean(happened)) for name, happened in events.items()},
    }


def measure_acting(run, policies, reference, study):
    """Write the ``rates`` of those who are not yet in ``acted.json``, or there with another number of steps.

    Args:
      run: the seed's. policies: arm -> parameters of its last policy. reference: those of pi_ref.
      study: the study's settings.
    """
    config, p, path = run.config, run.config.phase2, run.workdir / "acted.json"
    acted = json.loads(path.read_text()) if path.exists() else {}
    seeds = np.concatenate([phase2.env_seeds(config, p.cycles + i) for i in range(study.event_rounds)])
    everyone = {"frozen_reference": reference, **policies}
    steps = study.event_steps * len(seeds)
    left = [arm for arm in everyone if acted.get(arm, {}).get("steps") != steps]
    if not left:
        return
    to_env, spec = build.action_maps(config)[0], build.spec_of(config)
    env = build.make_device_env(config, config.env.task)
    with Progress("acting", len(left)) as progress:
        for done, arm in enumerate(left, 1):
            actions, kl, events = act_freely(
                env, build.make_policy(config), everyone[arm], reference, keys(seeds, len(seeds)),
                build.stage_key(config, "acting"), warm_up=p.warm_up, steps=study.event_steps, to_env=to_env,
            )  # fmt: skip
            actions = np.asarray(to_env(actions) if to_env else actions)
            write_json(path, acted := {**acted, arm: rates(spec, actions, kl, events)})
            progress.update(done)
