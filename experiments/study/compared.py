"""What methods of post-training are compared by, beside what every study measures, and what their papers claim.

``parts`` and ``measure`` keep it, clip by clip, where ``study.dreams`` asks for it: quality by frame, how much a dream
moves, the actions that are read off it, the energy score of several dreams. ``compare`` makes rows of it:

  rows    ``{set, metric, arm, value, value_low, value_high, change, low, high, seeds, clips}``: ``change`` is against
          theta_0, relative or a difference as ``FIGURES`` says; intervals of 95 % over seeds and clips. ``real_frames``
          is what is read off real frames, ``others_actions`` that held against another clip's actions: ceiling, floor
  control the same rows of the arms, ``change`` against ``BASELINE``, which trained as many tokens; none without it
  drift   arm -> for each of ``STEPS`` equal parts of the long rollout [PSNR, difference to theta_0, low, high]
  claims  what each paper says of its own method, and whether it is so here (``verdict``)
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.evaluation.frame_metrics import Part
from experiments.evaluation.read_actions import figures_of as of_actions
from experiments.run.files import write_numpy
from experiments.stages import build
from experiments.stages.inverse_dynamics import load_inverse_dynamics
from prowl_jax.metrics.image import gradient_energy, psnr
from prowl_jax.metrics.intervals import nested_interval_of_means
from prowl_jax.rewards.dream import OfSeveral, make_dream, make_score
from prowl_jax.rewards.several import energy
from prowl_jax.train.inverse_dynamics import make_recover

STEPS = 14
"""Parts of the long rollout, PersistWorld's horizon in dreams of the length that it trains on (arXiv 2603.25685)."""
STILL = 0.2
"""Share of the real motion below which a dream is frozen, as ``metrics.stability`` has it."""
WINDOW = 20
"""Frames at the end of a dream in which that is asked."""
REAL, OTHERS = "real_frames", "others_actions"
BASELINE = "fine_tuned"
"""Demonstrations alone: what as many tokens do without a reward."""
ROWS = 32


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of a set of clips.

    Attributes:
      title: in words. columns: ``f(values) -> [float [n, ...]]``, what it is made of, a clip a row.
      of: a function of the columns' means. relative: whether its change is told as a share.
      better: +1 where more is better, -1 where less is, 0 where it depends.
    """

    title: str
    columns: Callable
    of: Callable = lambda x: x
    relative: bool = True
    better: int = -1


def _column(name):
    return lambda values: [values[name]]


def _over(a, b):
    return a / b


FIGURES = {
    "latent_regret": Figure("regret", _column("latent_regret")),
    "afs_epe": Figure("AFS-EPE, px", _column("afs_epe")),
    "psnr": Figure("PSNR, dB", _column("psnr"), relative=False, better=1),
    "ssim": Figure("SSIM", _column("ssim"), relative=False, better=1),
    "sharpness": Figure("sharpness over real", lambda v: [v["gradient_energy"], v["real_energy"]], _over, better=0),
    "energy_score": Figure("energy score", _column("energy_score")),
}
LONG = {
    "psnr": Figure("PSNR, dB", lambda v: [v["psnr_by_frame"].mean(1)], relative=False, better=1),
    "frozen": Figure("share frozen", lambda v: [v["motion"] < STILL], relative=False),
    "wins": Figure("share above theta_0 in PSNR", _column("wins"), relative=False, better=1),
}
ACTIONS = {
    "action_precision": Figure("precision", None, better=1),
    "action_recall": Figure("recall", None, better=1),
    "action_f1": Figure("F1", None, better=1),
    "camera_l1": Figure("camera, bins off", None),
}


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a paper says of its method.

    Attributes:
      paper, says: in words. arm: the method here. of: (set, metric) of the rows.
      value: that is claimed; of ``what``, ``"change"`` or ``"value"``. margin: how much below 0 is not worse, where the
        claim is no more than that; None of all others.
    """

    paper: str
    says: str
    arm: str
    of: tuple
    value: float
    what: str = "change"
    margin: float | None = None


CLAIMS = (
    Claim("PersistWorld", "PSNR +1.40 dB over 14 steps of self-rollout", "nft", ("long_rollout", "psnr"), 1.40),
    Claim("PersistWorld", "LPIPS -0.011 over 14 steps", "nft", ("long_rollout", "lpips"), -0.011),
    Claim("PersistWorld", "wins 98 % of paired comparisons", "nft", ("long_rollout", "wins"), 0.98, "value"),
    Claim("RLIR", "action following +5 to 10 %", "grpo", ("held_out", "action_f1"), 0.05),
    Claim("RLIR", "visual quality not worse (here: 0.1 dB)", "grpo", ("held_out", "psnr"), 0.0, margin=0.1),
    Claim("PROWL", "regret -3.5 % on held-out tasks", "prowl", ("held_out", "latent_regret"), -0.035),
    Claim("PROWL", "AFS-EPE -12.6 % on held-out tasks", "prowl", ("held_out", "afs_epe"), -0.126),
)
"""arXiv 2603.25685, 2509.23958 and 2605.18803, each against its own base model."""


def parts(run):
    """The ``Part``s that keep of each clip what ``compare`` reads."""
    kept = ("psnr_by_frame", "motion", "real_energy", "given_actions")
    if build.has_judge(run.config):
        kept += ("recovered_actions",)
    return (Part(_of_clips, kept),)


def _of_clips(dreamt, items):
    horizon = dreamt.shape[1]
    given = items.actions[:, -horizon - 1 : -1]
    return {**_seen(dreamt, items.frames[:, -horizon - 1 :]), "given_actions": given}


@jax.jit
def _seen(dreamt, frames):
    """Of dreams uint8 ``[B, T, ...]`` and the real frames from the last one before them on, ``[B, T + 1, ...]``."""

    def of_clip(pair):
        dreamt, real = (x.astype(jnp.float32) / 255.0 for x in pair)
        last = min(WINDOW, len(dreamt))
        moves = [jnp.abs(jnp.diff(x[-last - 1 :], axis=0)).mean() for x in (jnp.concatenate([real[:1], dreamt]), real)]
        return {
            "psnr_by_frame": psnr(dreamt, real[1:]),
            "motion": moves[0] / jnp.maximum(moves[1], 1e-6),
            "real_energy": gradient_energy(real[1:]).mean(),
        }

    return jax.lax.map(of_clip, (dreamt, frames))


def measure(run, found, sets, study, folder_of):
    """The energy scores of every arm, and the actions that are read off real frames, where they are not there yet.

    Args:
      found: a ``measure.Found``. sets: name -> ``RealClip``. folder_of: ``f(set) -> folder`` of its values.
    """
    config = run.config
    model, context = build.make_used_world_model(config), build.make_budget(config).context
    dream = make_dream(model, context, build.make_flow(config), common_noise=True)
    score = make_score(dream, {"energy": OfSeveral(energy, study.dreams)}, ROWS)
    recover = None
    if build.has_judge(config):
        recover = functools.partial(make_recover(build.make_inverse_dynamics(config)), load_inverse_dynamics(run))
    for name, items in sets.items():
        if not of_a_task(name):
            continue
        for arm, done in found.arms.items():
            path = folder_of(name) / f"several.{arm}.npz"
            if not path.exists():
                write_numpy(path, np.savez, energy_score=np.asarray(score(done.params, items)["energy"]))
        path = folder_of(name) / "several.real_frames.npz"
        if recover is not None and not path.exists():
            scored = items.flow.shape[1]
            read = [np.asarray(recover(items.frames[i : i + 1, -scored - 1 :])) for i in range(len(items.frames))]
            write_numpy(path, np.savez, recovered_actions=np.concatenate(read))


def of_a_task(name):
    """Whether a set is of a task's held-out episodes."""
    return name == "in_distribution" or name.startswith("held_out/")


def compare(config, runs, names):
    """``{"compared": {...}}``, see above; nothing where the study does not ask for it, or no seed is done.

    Args:
      runs: seed -> run of those that are done. names: the arms, theta_0's ``phase1`` first.
    """
    if not config.study.dreams or not runs:
        return {}
    spec, draws = build.spec_of(config), {"seed": config.seed, "resamples": config.evaluation.resamples}
    tasks = [f"held_out/{task}" for task in config.env.held_out_tasks]
    sets = {"in_distribution": ["in_distribution"], "held_out": tasks}
    members = {title: of for title, of in sets.items() if of}
    sets = {title: {arm: [_together(run, of, arm) for run in runs.values()] for arm in (*names, REAL)}
            for title, of in members.items()}  # fmt: skip
    drawn = {title: {**draws, "episodes": _episodes(runs, of)}
             for title, of in (*members.items(), ("long_rollout", ["long_rollout"]))}  # fmt: skip
    long = {arm: [_together(run, ["long_rollout"], arm) for run in runs.values()] for arm in names}
    for seeds in long.values():
        for values, base in zip(seeds, long["phase1"], strict=True):
            own, theirs = (x["psnr_by_frame"].mean(1) for x in (values, base))
            values["wins"] = (own > theirs) + 0.5 * (own == theirs)
    perceptual = sorted(name for name in long["phase1"][0] if name.startswith("lpips_"))
    more = {"lpips": Figure("LPIPS", _column(perceptual[0]), relative=False)} if perceptual else {}

    def against(base):
        rows = []
        for title, read in sets.items():
            rows += _rows(title, FIGURES, {arm: read[arm] for arm in names}, base, drawn[title])
            rows += _of_actions(title, spec, read, base, drawn[title])
        return rows + _rows("long_rollout", LONG | more, long, base, drawn["long_rollout"])

    rows = against("phase1")
    control = [row for row in against(BASELINE) if _of_an_arm(row)] if BASELINE in names else []
    drift = {arm: _drift(long[arm], long["phase1"], drawn["long_rollout"]) for arm in names}
    found = {(row["set"], row["metric"], row["arm"]): row for row in rows}
    claims = [_claimed(claim, found) for claim in CLAIMS if claim.arm in names]
    return {"compared": {"rows": rows, "control": control, "drift": drift, "claims": claims}}


def central_rows(compared, told=()):
    """Of what ``compare`` found, or None: the changes against theta_0 and ``BASELINE`` as rows of ``central.central``.

    Without the metrics that are ``told`` already; of what is told as a difference, ``relative`` is None.
    """
    rows = []
    for against, there in (("phase1", "rows"), (BASELINE, "control")):
        for row in compared[there] if compared else ():
            if not _of_an_arm(row) or row["metric"] in told:
                continue
            share = {**FIGURES, **ACTIONS}.get(row["metric"], LONG["psnr"]).relative and row["set"] != "long_rollout"
            found = {"set": row["set"], "subset": "all", "metric": row["metric"], "arm": row["arm"]}
            found |= {"against": against, "relative": row["change"] if share else None}
            found |= {"low": row["low"], "high": row["high"]} | ({} if share else {"difference": row["change"]})
            rows.append(found | {name: row[name] for name in ("seeds", "clips")})
    return rows


def _of_an_arm(row):
    """Whether a row is a change of an arm."""
    return row["change"] is not None and row["arm"] not in (REAL, OTHERS)


def _together(run, members, arm):
    """name -> float ``[n, ...]`` of an arm, of several sets of a seed one after the other; {} of what is not there."""
    found = []
    for name in members:
        folder = run.workdir / "values" / name.replace("/", ".")
        files = [path for path in (folder / f"{arm}.npz", folder / f"several.{arm}.npz") if path.exists()]
        found.append({k: v for path in files for k, v in np.load(path).items() if v.ndim})
    there = set.intersection(*map(set, found))
    return {name: np.concatenate([values[name] for values in found]) for name in sorted(there)}


def _episodes(runs, members):
    """For each seed the episode of every clip of several sets; None where they were not noted."""
    found = [[run.workdir / "values" / name.replace("/", ".") / "episodes.npy" for name in members]
             for run in runs.values()]  # fmt: skip
    if not all(path.exists() for paths in found for path in paths):
        return None
    return [np.concatenate([np.load(path) for path in paths]) for paths in found]


def _rows(title, figures, read, base, draws):
    """A row for every figure and arm, where all seeds have what it is made of."""
    rows = []
    for metric, figure in figures.items():
        columns = {arm: [figure.columns(values) for values in seeds] for arm, seeds in read.items()}
        rows += [_row(title, metric, arm, base, figure, columns, draws) for arm in columns]
    return rows


def _row(title, metric, arm, against, figure, columns, draws):
    """``columns``: arm -> for each seed its list of columns."""
    own, base = _by_column(columns[arm]), _by_column(columns[against])
    count = len(own)

    def change(*means):
        after, before = figure.of(*means[:count]), figure.of(*means[count:])
        return after / before - 1.0 if figure.relative else after - before

    value = nested_interval_of_means(figure.of, *own, **draws)
    changed = {} if arm == against or metric == "wins" else nested_interval_of_means(change, *own, *base, **draws)
    row = {"set": title, "metric": metric, "arm": arm, "value": value["value"]}
    row |= {"value_low": value["low"], "value_high": value["high"], "change": changed.get("value")}
    row |= {end: changed.get(end) for end in ("low", "high")}
    row |= {"seeds": len(own[0]), "clips": sum(map(len, own[0]))}
    return {k: _short(v) if isinstance(v, float) else v for k, v in row.items()}


def _by_column(seeds):
    """From the columns of each seed to, for each column, a list of the seeds."""
    return [list(seed) for seed in zip(*seeds, strict=True)]


def _of_actions(title, spec, read, base, draws):
    """Rows of what is read off dreams and off real frames; none without a judge."""
    if not all("recovered_actions" in values for seeds in read.values() for values in seeds):
        return []
    given = [values["given_actions"] for values in read["phase1"]]
    said = {arm: [values["recovered_actions"] for values in seeds] for arm, seeds in read.items()}
    true = dict.fromkeys(said, given) | {OTHERS: [np.roll(actions, 1, axis=0) for actions in given]}
    said[OTHERS] = said[REAL]
    rows, columns, functions = [], {}, {}
    for arm in said:
        for answers in zip(true[arm], said[arm], strict=True):
            for metric, (function, *values) in of_actions(spec, *answers).items():
                functions[metric] = function
                columns.setdefault(metric, {}).setdefault(arm, []).append(values)
    for metric, of_arms in columns.items():
        figure = dataclasses.replace(ACTIONS[metric], of=functions[metric])
        rows += [_row(title, metric, arm, base, figure, of_arms, draws) for arm in of_arms]
    return rows


def _drift(own, base, draws):
    """For each of ``STEPS`` parts of the rollout [PSNR, difference to theta_0, low, high]; the last are None of it."""
    out = []
    frames = own[0]["psnr_by_frame"].shape[1]
    for part in np.array_split(np.arange(frames), min(STEPS, frames)):
        a, b = ([values["psnr_by_frame"][:, part].mean(1) for values in seeds] for seeds in (own, base))
        value = float(np.mean([x.mean() for x in a]))
        if own is base:
            out.append([_short(value), None, None, None])
            continue
        found = nested_interval_of_means(lambda x, y: x - y, a, b, **draws)
        out.append([_short(value), *(_short(found[k]) for k in ("value", "low", "high"))])
    return out


def _claimed(claim, found):
    """What was claimed beside what came out."""
    row = found.get((*claim.of, claim.arm))
    value, low, high = (None,) * 3
    if row is not None:
        ends = ("change", "low", "high") if claim.what == "change" else ("value", "value_low", "value_high")
        value, low, high = (row[end] for end in ends)
    told = {"paper": claim.paper, "says": claim.says, "arm": claim.arm, "claimed": claim.value, "here": value}
    return told | {"low": low, "high": high, "verdict": verdict(claim, low, high)}


def verdict(claim, low, high):
    """"reproduced", "not" or "unknown" at this scale, from an interval of 95 %.

    A claim is not reproduced where the interval does not reach it, reproduced where it does and leaves out that nothing
    changed, unknown else. That something is not worse is reproduced where the interval lies above minus the margin, not
    where it lies below it.
    """
    if low is None or high is None or not np.isfinite([low, high]).all():
        return "unknown"
    if claim.margin is not None:
        return "reproduced" if low > -claim.margin else "not" if high < -claim.margin else "unknown"
    nothing = 0.5 if claim.what == "value" else 0.0  # of paired comparisons half are won by chance
    if claim.value < nothing:
        low, high, value, nothing = -high, -low, -claim.value, -nothing
    else:
        value = claim.value
    return "not" if high < value else "reproduced" if low > nothing else "unknown"


def _short(x):
    return float(f"{x:.5g}") if x is not None and np.isfinite(x) else None
