"""The figures of a study, from the files its seeds left: compact, for each seed and arm, and with intervals.

``collect`` gives, and ``save`` writes:

  study, seeds, arms       arm -> what it is, its c_kl and lambda_AFS
  machine, settings        where the results were put together, and what matters of what it was set to
  provenance               commits, versions and machines of every seed's starts, each with its ``run``, and the whole
                           configuration (``run.provenance``); studies that are older have none
  budget                   what each arm spent on each seed, counted in what it left; ``minutes`` of each seed;
                           ``environment_steps``, the fewest and the most of an arm that acts
  budgets                  arm -> what one seed of it spent of everything, latents dreamt and environment steps too
                           (``repeated_steps``, warm-ups that branches took again, apart), ``minutes``, one a seed, and
                           ``tokens_per_second``, all of these minutes counted
  sets                     set -> ``clips`` of each subset and seed; ``means``: arm -> metric -> subset -> one a seed
                           (``held_out`` is all its tasks together); where the configuration asks for them,
                           ``of_set``: arm -> metric of the whole set -> one a seed, for ``held_out`` the mean of
                           its tasks, and ``real_frames``: metric -> what the real frames reach, one a seed
                           ``modes`` has the ``MODES`` strictly novel ones that most clips hold
  novel_modes              how many strictly novel modes there were in all, one a seed
  inverse_dynamics         what the model that reads actions off frames reaches on held-out real frames
  differences              baseline -> set -> metric -> subset -> arm -> [relative, low, high, low, high]: the first
                           two bounds are of clips alone, the others of seeds and clips; where clips were cut from
                           recorded episodes, these are drawn in the clips' place, shared ones for all seeds at once
                           (studies that are older drew clips); ``cross_buffer`` is all buffers but the arm's own and
                           the baseline's
  compared                 where the study has ``study.dreams``, what methods are compared by (``compared``)
  dose                     where the study asks for doses, what PROWL gains by how much of what (``dose``)
  ppo_progress             how far PPO came for its environment steps, of arms whose policy is paid (``by_cycle``)
  central                  those of the differences that settle a study, as rows (``central``)
  oracles, mendable_share  where the study has any: what each trained, and ``central.mendable_share``
  found_apart              likewise: what theta_0's error on what each arm found is made of (``apart``)
  cycles                   arm -> metric of the loop -> a list of cycles for each seed
  long_rollout             ``means``: arm -> regret of each predicted frame for each seed; ``differences``: arm -> for
                           each frame [relative, low, high] against theta_0, over seeds and clips
  events                   who (an arm whose last policy acted on its own, pi_ref as frozen_reference, or
                           demonstrations) -> event -> times in 1,000 steps, one a seed
  acted                    the same without demonstrations -> steps in all, KL to the reference a step and camera
                           speed over the reference's -> one a seed
  votes                    where STUDY/votes.jsonl has some on its seeds' arms, what they say (``votes.summary``)

None stands for what a seed has not.
"""

import json
import os
import platform

import jax
import numpy as np

from experiments.evaluation import votes
from experiments.run.files import as_json, write_text
from experiments.run.metrics_log import read_metrics
from experiments.run.provenance import provenance, stages_not_noted, starts_of
from experiments.stages import build, phase2
from experiments.stages.arms import ARMS, CONTROL, configured
from experiments.study import apart, by_cycle, compared, dose
from experiments.study.central import METRICS, central, mendable
from experiments.study.sets import (
    episodes_of,
    has,
    largest_groups,
    metrics_of,
    pooled,
    read_sets,
    subsets_of,
)
from prowl_jax.envs.gaps import THINGS
from prowl_jax.metrics.intervals import hierarchical_bootstrap

AGAINST = ("phase1", CONTROL, "passive", "fine_tuned")
"""Those of the study's tables."""
CYCLE_METRICS = ("kl_to_reference", "camera_speed_over_reference", "regret", "pat_mean_regret", "pat_mean_progress")
OF_SOME = (
    *("pat_unlearnable", "pat_hard", "pat_reducible_share"),
    *("reward_of_start", "reward_between_starts", "reward_within_starts"),
    *("reward_variance", "reward_over_reference"),
    *("reward", "reward_spread", "idle_groups"),
    *(f"does_{thing}" for thing in THINGS),
)
"""The same of arms that have them: who knows an oracle, whose trajectories branch, who trains a policy, who dreams
branches, and where it is planted how often a thing is done in 1,000 steps."""
DIGITS = 5
MODES = 12
"""So many strictly novel modes are told one by one."""
KEYS = (
    *("study", "seeds", "arms", "machine", "settings", "budget", "sets", "novel_modes", "inverse_dynamics"),
    *("differences", "cycles", "long_rollout", "events", "acted"),
)
"""What every file of results has."""


def collect(config, runs, shared):
    """The results of the seeds that are done.

    Args:
      config: the study's. runs: seed -> ``SeedRun`` of those that were measured. shared: the run of the rest.

    Raises:
      RuntimeError: arms that did not spend the same.
    """
    arms = {arm: _describe(config, arm) for arm in config.arms}
    names = ("phase1", *arms, *config.study.oracles)
    sets, novel = read_sets(runs, names), [0] * len(runs)
    if "modes" in sets:
        novel = [len(seed.rows) - 1 if seed else 0 for seed in sets["modes"]]
        sets["modes"] = largest_groups(sets["modes"], MODES)
    logs = [read_metrics(run.workdir) for run in runs.values()]
    differences = {against: _all_differences(config, sets, against) for against in AGAINST if against in names}
    clips = {name: {subset: _clips(one, subset) for subset in subsets_of(one)} for name, one in sets.items()}
    beside = compared.compare(config, runs, names)
    cycles, budgets = {arm: _cycles(logs, arm, build.make_method(config, arm)) for arm in arms}, _budgets(config, runs)
    found = {
        "sets": {name: _figures(one) for name, one in sets.items()},
        "central": central(differences, clips) + compared.central_rows(beside.get("compared"), METRICS),
    }
    return {
        "study": config.name,
        "seeds": list(runs),
        "arms": arms,
        "machine": machine(),
        "settings": _settings(config),
        "provenance": _provenance(config, runs, shared),
        "budget": _budget(config, runs, shared),
        "budgets": budgets,
        "sets": found["sets"],
        "novel_modes": novel,
        "inverse_dynamics": {
            k.removeprefix("held_out_"): _short(v)
            for k, v in shared.stages().get("inverse_dynamics", {}).items()
            if k.startswith("held_out_")
        },
        "differences": differences,
        "central": found["central"],
        **dose.rows(config, runs, shared.workdir.parent, found),
        **by_cycle.ppo_progress(config, runs, cycles, budgets),
        **mendable(config, sets, names[1:]),
        **apart.found_apart(config, runs),
        **beside,
        "cycles": cycles,
        "long_rollout": _long(config, sets["long_rollout"]),
        **_acted(runs, arms),
        **voted(shared.workdir.parent / votes.FILE, names),
    }


def machine():
    """The class of machine, in words: devices, cores, Python and JAX."""
    device = jax.devices()[0]
    return (
        f"{jax.device_count()} {device.platform} ({device.device_kind}), {os.cpu_count()} {platform.machine()} cores, "
        f"Python {platform.python_version()}, JAX {jax.__version__}"
    )


def _describe(config, arm):
    own = configured(config, arm)
    return {
        "says": ARMS[arm].says,
        "kl_cost": own.adversary.kl_cost if build.make_method(config, arm).trains_policy else None,
        "lambda_afs": own.phase2.lambda_afs,
    }


def _settings(config):
    p, e = config.phase2, config.evaluation
    keys = ("cycles", "trajectories", "updates", "batch", "capacity", "horizon", "learning_rate")
    return {
        "environment": config.env.name,
        "task": config.env.task,
        "world_model": config.world_model.size if config.world_model.network == "dit" else config.world_model.network,
        "phase1_steps": config.world_model.steps,
        **{key: p[key] for key in keys},
        "clips": e.clips,
        "resamples": e.resamples,
        "camera_alarm": config.adversary.camera_alarm,
        "drawn": "episodes",
    }


def _provenance(config, runs, shared):
    """The starts of all runs, and of the process that puts the results together."""
    every = {"shared": shared, **{f"seed{seed}": run for seed, run in runs.items()}}
    noted = provenance(config)
    starts = [{"run": name, **start} for name, run in every.items() for start in starts_of(run.workdir)]
    starts += [{"run": "results", **start} for start in noted["starts"]]
    older = [f"{name}'s {stage}" for name, run in every.items() for stage in stages_not_noted(run.workdir)]
    return {"config": noted["config"], "starts": starts} | ({"not_noted": older} if older else {})


def _budget(config, runs, shared):
    """Counted: updates by the world model's own count, steps by the cycles that its state has seen."""
    planned = {arm: phase2.spent(build.make_method(config, arm)) for arm in config.arms}
    counted, names = {}, ("world_model_updates", "world_model_tokens", "environment_steps")
    for seed, run in runs.items():
        counts = json.loads((run.workdir / "counts.json").read_text())
        for arm in config.arms:
            count, plan = counts[arm], planned[arm]
            spent = {
                "world_model_updates": count["updates"],
                "world_model_tokens": count["updates"] * plan["world_model_tokens"] // plan["world_model_updates"],
                "environment_steps": count["cycles"] * plan["environment_steps"] // config.phase2.cycles,
            }
            if spent != {name: plan[name] for name in names}:
                raise RuntimeError(f"seed {seed}, arm {arm} spent {spent}, planned were {plan}")
            counted.setdefault(arm, []).append(round(seconds_of(run.stages()[f"phase2/{arm}"]) / 60, 2))
    phase1 = [run.stages()["world_model"] for run in runs.values()]
    every = [*(run.stages() for run in runs.values()), shared.stages()]
    first = planned[config.arms[0]]
    steps = [plan["environment_steps"] for plan in planned.values() if plan["environment_steps"]]
    return {
        "each_arm": {n: first[n] for n in names if all(plan[n] == first[n] for plan in planned.values())},
        "environment_steps": [min(steps, default=0), max(steps, default=0)],
        "phase1_tokens": phase1[0]["tokens"] if phase1 else None,
        "arm_minutes": counted,
        "total_minutes": round(sum(seconds_of(s) for stages in every for s in stages.values()) / 60, 1),
    }


def _budgets(config, runs):
    """Everything that an arm spends on one seed, as its method says; none of it is hidden in another."""
    found = {}
    for arm in config.arms:
        method = build.make_method(config, arm)
        spent = {**phase2.spent(method), "repeated_steps": _repeated(config, method)}
        seconds = [seconds_of(run.stages()[f"phase2/{arm}"]) for run in runs.values()]
        rate = [_short(spent["world_model_tokens"] / max(s, 1e-9)) for s in seconds]
        found[arm] = {**spent, "minutes": [round(s / 60, 2) for s in seconds], "tokens_per_second": rate}
    return found


def _repeated(config, method):
    """Steps of warm-ups that branches take again where no state is copied: time, and nothing is learned."""
    budget = method.shared.budget
    if config.phase2.program == "device" or not method.needs().acts:
        return 0
    return budget.cycles * budget.warm_up * (budget.trajectories - budget.trajectories // budget.branches)


def seconds_of(figures):
    """A run's share of the seconds of a stage, which several may have gone through side by side."""
    return figures["seconds"] / figures.get("side_by_side", 1)


def _figures(one):
    named = subsets_of(one)
    clips = {subset: _clips(one, subset) for subset in named}
    arms = next(seed for seed in one if seed).values

    def mean(arm, metric, subset):
        return [
            _short(seed.values[arm][metric][seed.rows[subset]].mean()) if has(seed, subset) else None for seed in one
        ]

    means = {arm: {m: {subset: mean(arm, m, subset) for subset in named} for m in metrics_of(one)} for arm in arms}
    return {
        "clips": clips,
        "means": means,
        "of_set": {arm: _by_metric([seed.of_set[arm] if seed else {} for seed in one]) for arm in arms},
        "real_frames": _by_metric([seed.real_frames if seed else {} for seed in one]),
    }


def _clips(one, subset):
    """How many clips each seed has of a subset."""
    return [len(seed.rows[subset]) if has(seed, subset) else 0 for seed in one]


def _by_metric(seeds):
    """Metric -> one a seed, of what each seed has."""
    names = dict.fromkeys(name for seed in seeds for name in seed)
    return {name: [_short(seed.get(name)) for seed in seeds] for name in names}


def _all_differences(config, sets, against):
    """Set -> metric -> subset -> arm -> [relative, low, high over clips, low, high over seeds and clips].

    Of a single clip there is no interval: its bounds are None.
    ``cross_buffer`` is, for each arm, all buffers but its own and the baseline's.
    """
    arms = [arm for arm in next(seed for seed in sets["in_distribution"] if seed).values if arm != against]
    out = {name: _differences(config, one, dict.fromkeys(arms, one), against) for name, one in sets.items()}
    cross = {}
    for arm in arms:
        own = {f"buffer/{arm}", f"buffer/{against}"}
        others = [one for name, one in sets.items() if name.startswith("buffer/") and name not in own]
        if others:
            cross[arm] = [pooled(parts) for parts in zip(*others, strict=True)]
    if cross:
        out["cross_buffer"] = _differences(config, next(iter(cross.values())), cross, against)
    return out


def _differences(config, example, sets, against):
    settings = {"seed": config.seed, "resamples": config.evaluation.resamples}
    metrics = metrics_of(example)
    out = {metric: {} for metric in metrics}
    for subset in subsets_of(example):
        for metric in metrics:
            rows = out[metric][subset] = {}
            for arm, one in sets.items():
                seeds = [seed for seed in one if has(seed, subset)]
                a, b = ([seed.values[name][metric][seed.rows[subset]] for seed in seeds] for name in (arm, against))
                episodes = episodes_of(seeds, subset)
                clips, both = (
                    hierarchical_bootstrap(a, b, over_seeds=o, episodes=episodes, **settings) for o in (False, True)
                )
                row = [both["relative"], clips["low"], clips["high"], both["low"], both["high"]]
                single = sum(map(len, a)) < 2  # which has no interval
                rows[arm] = [_short(x) if i == 0 or not single else None for i, x in enumerate(row)]
    return out


def _cycles(logs, arm, method):
    """Metric -> for each seed its value in every cycle. A policy that acts and is not trained has a KL of 0."""
    out = {}
    for metric in (*CYCLE_METRICS, *OF_SOME):
        seeds = []
        for log in logs:
            rows = sorted((r for r in log if r["stage"] == "phase2" and r["arm"] == arm), key=lambda r: r["step"])
            if metric == "kl_to_reference" and not method.trains_policy:  # what is logged is the world model's
                seeds.append([0.0 if method.needs().acts else None] * len(rows))
            else:
                seeds.append([_short(row.get(metric)) for row in rows])
        if metric in CYCLE_METRICS or any(value is not None for seed in seeds for value in seed):
            out[metric] = seeds
    return out


def _long(config, one):
    arms = next(seed for seed in one if seed).values
    curves = {arm: [seed.values[arm]["frame_regret"] for seed in one] for arm in arms}
    settings = {"seed": config.seed, "resamples": config.evaluation.resamples, "episodes": episodes_of(one)}

    def over_phase1(arm, frame):
        a, b = ([clips[:, frame] for clips in curves[name]] for name in (arm, "phase1"))
        result = hierarchical_bootstrap(a, b, **settings)
        return [_short(result[k]) for k in ("relative", "low", "high")]

    frames = range(curves["phase1"][0].shape[1])
    return {
        "means": {arm: [[_short(x) for x in clips.mean(0)] for clips in seeds] for arm, seeds in curves.items()},
        "differences": {arm: [over_phase1(arm, t) for t in frames] for arm in arms if arm != "phase1"},
    }


def _acted(runs, arms):
    """``events`` and ``acted``; both empty where the environment knows no events."""
    demonstrated, acted = (_files(runs, f"{name}.json") for name in ("demonstrated_events", "acted"))
    names = next((list(rates) for rates in demonstrated if rates), [])
    who = [arm for arm in dict.fromkeys((CONTROL, *arms)) if any(arm in seed for seed in acted)]

    def of_events(seeds):
        return {name.removeprefix("event_"): [_short(seed.get(name)) for seed in seeds] for name in names}

    def rest(arm):
        seeds, base = [seed.get(arm, {}) for seed in acted], [seed.get(CONTROL, {}) for seed in acted]
        speeds = [(one.get("camera_speed"), other.get("camera_speed")) for one, other in zip(seeds, base, strict=True)]
        return {
            "steps": [seed.get("steps") for seed in seeds],
            "kl_to_reference": [_short(seed.get("kl_to_reference")) for seed in seeds],
            "camera_speed_over_reference": [_short(a / b) if a is not None and b else None for a, b in speeds],
        }

    return {
        "events": {"demonstrations": of_events(demonstrated)}
        | {arm: of_events([seed.get(arm, {}) for seed in acted]) for arm in who}
        if names
        else {},
        "acted": {arm: rest(arm) for arm in who},
    }


def voted(path, names):
    """``{"votes": ...}`` of a file of votes, on the named arms, all seeds together; ``{}`` where it has none."""
    found = []
    for vote in votes.read(path):
        sides = {side: vote[side].partition(":")[2] for side in ("left", "right")}
        if set(sides.values()) <= set(names) and len(set(sides.values())) == 2:
            found.append({**vote, **sides})
    return {"votes": votes.summary(found, names)} if found else {}


def _files(runs, name):
    """What the file of this name holds, one a seed; nothing where there is none."""
    paths = [run.workdir / name for run in runs.values()]
    return [json.loads(path.read_text()) if path.exists() else {} for path in paths]


def _short(x):
    """A number in ``DIGITS`` digits; None for what is missing or not finite."""
    return float(f"{x:.{DIGITS}g}") if x is not None and np.isfinite(x) else None


def save(path, results):
    """Write all of it or nothing, as JSON: one line for what lies three levels deep, so that a change can be read."""
    lines = []

    def write(value, indent, name, last):
        comma, prefix = "" if last else ",", " " * indent + (f"{json.dumps(name)}: " if name is not None else "")
        if isinstance(value, dict) and value and indent < 3:
            lines.append(prefix + "{")
            items = list(value.items())
            for i, (key, inner) in enumerate(items):
                write(inner, indent + 1, str(key), i == len(items) - 1)
            lines.append(" " * indent + "}" + comma)
        else:
            lines.append(prefix + as_json(value) + comma)

    write(results, 0, None, True)
    write_text(path, "\n".join(lines) + "\n")


def load_results(path):
    """The results in a file; ValueError of one line where it is none."""
    try:
        results = json.loads(path.read_text())
        missing = [key for key in KEYS if key not in results]
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if missing:
        raise ValueError(f"{path} is no file of results: it has no {missing[0]!r}")
    return results
