"""Arms after some of their cycles: what they mended by then, and how far PPO had come, by a measure that never changes.

Of the arms ``study.by_cycle``, which ``phase2.keep_cycles`` keeps, two things are measured after each of these cycles:

  values/critical/ARM@CYCLE.npz   the world model on the critical trajectories, as arms are measured at the end
  found/ARM@CYCLE.npz             ``regret`` of theta_0 on what the policy finds when it acts from starts that no arm
                                  has learned from, a number a trajectory; pi_ref's is found/frozen_reference@0.npz

The first is the axis ``cycles`` of the dose curve. The second is what PPO is worth: theta_0 does not learn, so that
what the policy finds more than pi_ref, of the same starts with the same chance, is the policy's alone. Within the loop
the same is told of every arm, cycle by cycle, against what the control finds in the same cycle; there the world models
differ.
"""

import numpy as np

from experiments.evaluation.evaluate import batch_of, measure_all
from experiments.run.files import write_numpy
from experiments.run.progress import Progress
from experiments.stages.arms import CONTROL
from experiments.stages.inverse_dynamics import with_judge
from experiments.stages.phase2 import kept
from prowl_jax.metrics.intervals import mean_interval

SET = "critical"


def cycles_of(config):
    """The cycles after which arms are measured, the last one, of which they are measured anyway, among them."""
    last = config.phase2.cycles
    return (*sorted(cycle for cycle in set(config.phase2.keep_cycles) if cycle < last), last)


def measure(found, items, measure_fn, key, path_of, act_out, observe, metrics):
    """Write what is not there yet.

    Args:
      found: a ``measure.Found``. items: the critical ``RealClip``. measure_fn, key: as arms are measured.
      path_of: ``f(name) -> path`` of values of this set. act_out, observe: as of ``measure``. metrics: names to keep.
    """
    run, arms, cycles = found.run, found.study.by_cycle, cycles_of(found.run.config)
    theta_0 = found.arms["phase1"].params

    def mended(arm, cycle):
        path = path_of(f"{arm}@{cycle}")
        if not path.exists():
            params = with_judge(run, kept.load(run, arm, cycle).params)
            rows = measure_all(measure_fn, params, items, key, batch=batch_of(run.config))
            write_numpy(path, np.savez, **{name: rows[name] for name in metrics})

    def hunts(who, cycle, policy):
        path = _found_path(run, who, cycle)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            acted = observe(act_out(policy(), run.config.phase2.cycles))
            rows = measure_all(measure_fn, theta_0, acted, key, batch=batch_of(run.config))
            write_numpy(path, np.savez, regret=rows["latent_regret"])

    if not arms:
        return
    hunts(CONTROL, 0, lambda: found.reference)
    with Progress("by cycle", len(arms) * len(cycles)) as progress:
        for i, (arm, cycle) in enumerate((arm, cycle) for arm in arms for cycle in cycles):
            last = cycle == cycles[-1]
            if not last:
                mended(arm, cycle)
            if arm in found.policies:
                done = found.arms[arm]
                hunts(arm, cycle, lambda a=arm, c=cycle, d=done if last else None: (d or kept.load(run, a, c)).policy)
            progress.update(i + 1)


def _found_path(run, who, cycle):
    return run.workdir / "found" / f"{who}@{cycle}.npz"


def names_of(config):
    """Cycle -> arm -> under which name its values lie; nothing where no arm is measured by cycle."""
    arms, cycles = config.study.by_cycle, cycles_of(config)
    return {cycle: {arm: arm if cycle == cycles[-1] else f"{arm}@{cycle}" for arm in arms} for cycle in cycles if arms}


def ppo_progress(config, runs, cycles, budgets):
    """Arm -> how far PPO came for what it spent; of arms whose policy is paid.

    Slopes are per cent of what pi_ref finds, for 1,000 environment steps, with 95 % intervals over seeds.

    Args:
      runs: seed -> run. cycles: arm -> metric of the loop -> a list of cycles for each seed. budgets: arm -> spent.

    Returns:
      arm -> ``reward_variance``, of what is paid, the mean over the cycles of each seed; ``in_the_loop``, the slope of
      the regret found over the control's; ``by_theta_0``, where it was measured, the slope of theta_0's regret on what
      the policy finds over that on what pi_ref finds, and ``curve``: cycle -> that in per cent, one a seed.
    """
    out = {}
    for arm, of in cycles.items():
        if "reward_variance" not in of:
            continue
        steps = budgets[arm]["environment_steps"] / config.phase2.cycles / 1000.0
        variance = [float(np.mean(seed)) if seed and None not in seed else None for seed in of["reward_variance"]]
        out[arm] = {"environment_steps_a_cycle": round(1000 * steps), "reward_variance": variance}
        if CONTROL in cycles:
            pairs = list(zip(of["regret"], cycles[CONTROL]["regret"], strict=True))
            out[arm]["in_the_loop"] = _interval([_slope(*pair, steps) for pair in pairs])
        curve = _curve(config, runs, arm)
        if curve:
            slopes = [
                _through_origin(steps * np.array(list(curve)), seed) for seed in zip(*curve.values(), strict=True)
            ]
            out[arm]["by_theta_0"] = _interval(slopes) | {"curve": {str(c): seeds for c, seeds in curve.items()}}
    return {"ppo_progress": out} if out else {}


def _slope(found, control, steps):
    """Least squares of ``found / control - 1`` in per cent over the steps before each cycle; None of a single one."""
    if len(found) < 2 or len(found) != len(control) or None in (*found, *control):
        return None
    excess = 100.0 * (np.array(found) / np.array(control) - 1.0)
    return float(np.polyfit(steps * np.arange(len(found)), excess, 1)[0])


def _through_origin(steps, excess):
    """The same of a policy that begins as pi_ref."""
    if None in excess:
        return None
    return float(np.sum(steps * np.array(excess)) / np.sum(np.square(steps)))


def _curve(config, runs, arm):
    """Cycle -> regret of theta_0 on what the policy finds over that on what pi_ref finds, per cent, one a seed."""
    out = {}
    for cycle in cycles_of(config):
        pairs = [(_found_path(run, arm, cycle), _found_path(run, CONTROL, 0)) for run in runs.values()]
        if arm in config.study.by_cycle and any(path.exists() for path, _ in pairs):
            out[cycle] = [_excess(*pair) if all(path.exists() for path in pair) else None for pair in pairs]
    return out


def _excess(path, reference):
    ours, theirs = (float(np.load(one)["regret"].mean()) for one in (path, reference))
    return float(f"{100.0 * (ours / theirs - 1.0):.5g}")


def _interval(values):
    """``{"mean", "low", "high", "seeds"}`` over the seeds that have a value; no bounds of a single one."""
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "low": None, "high": None, "seeds": 0}
    found = {name: float(f"{value:.5g}") for name, value in mean_interval(known).items()}
    return {**found, **({"low": None, "high": None} if len(known) < 2 else {}), "seeds": len(known)}
