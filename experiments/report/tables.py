"""The figures of ``evaluation.json`` as rows of words: for the page, and as text for the terminal.

Whatever is missing, null or not finite becomes a dash.
"""

import itertools
import math

import numpy as np

from experiments.evaluation.settings import ARM_CHECKS, CHECKS
from experiments.stages.arms import CONTROL, WHOLE
from prowl_jax.metrics.action_statistics import total_variation

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

# Metric -> its words, and +1 where more is better.
METRICS = {
    "latent_regret": ("latent regret", -1),
    "afs_epe": ("AFS-EPE, px", -1),
    "psnr": ("PSNR, dB", +1),
    "ssim": ("SSIM", +1),
    "gradient_energy": ("sharpness, energy of gradients", 0),
    "lpips_alexnet": ("LPIPS, AlexNet", -1),
    "lpips_vgg16": ("LPIPS, VGG-16", -1),
    "action_precision": ("actions recovered, precision", +1),
    "action_recall": ("actions recovered, recall", +1),
    "action_f1": ("actions recovered, F1", +1),
    "camera_l1": ("camera recovered, bins off", -1),
    "frechet_inverse_dynamics": ("Fréchet distance, inverse dynamics", -1),
    "frechet_alexnet": ("Fréchet distance, AlexNet", -1),
    "frechet_vgg16": ("Fréchet distance, VGG-16", -1),
}
SUBSETS = ("all", "hardest_tertile", "hardest_decile")
# What the terminal shows: these arms first, in columns of five letters, and these subsets.
SHORT_NAMES = {"phase1": "ph. 1", CONTROL: "froz.", WHOLE: "prowl"}
TEXT_SUBSETS = ("all", "hardest_decile")


def check_rows(evaluation):
    """The checks as dicts ``words``, ``value``, ``unit``, ``target`` and ``met``: of the run, then arm by arm.

    ``evaluation["targets"]`` is key -> bound, a lower one where more is better; of an arm's check it holds for every
    arm. ``met`` is None where the figure is missing or has no target.
    """
    checks, bounds = evaluation.get("checks") or {}, targets(evaluation)
    there = [key for key in dict.fromkeys((*CHECKS, *checks)) if key in checks or not checks]
    rows = [_check_row(key, CHECKS, checks.get(key), bounds) for key in there]
    for arm, figures in (evaluation.get("arm_checks") or {}).items():
        rows += [_check_row(key, ARM_CHECKS, value, bounds, f"{words(arm)}: ") for key, value in figures.items()]
    return rows


def targets(evaluation):
    """Check -> its bound; none in files from before they were the configuration's, which say true or false."""
    there = evaluation.get("targets")
    return there if isinstance(there, dict) else {}


def _check_row(key, known, value, bounds, whose=""):
    name, unit, sign = known.get(key, (words(key), "", 0))
    bound, met = bounds.get(key), None
    if bound is not None and sign and finite(value):
        met = sign * value >= sign * bound
    target = f"{'>=' if sign > 0 else '<='} {bound:g}" if bound is not None and sign else ""
    return {"words": whose + name, "value": number(value), "unit": unit, "target": target, "met": met}


def set_tables(evaluation):
    """One table for each evaluation set: rows are metric x subset, columns are arms and baselines.

    Returns:
      Dicts ``name``, ``clips``, ``columns`` (names) and ``rows``; a row has the words ``metric`` and
      ``subset``, the ``key`` of both, ``better`` ("lower", "higher" or "") and ``cells``, pairs of
      text and whether it is the best.
    """
    arms = evaluation.get("arms") or {}
    baselines = evaluation.get("baselines") or {}
    names = ordered(arms)
    tables = []
    for name in dict.fromkeys(s for arm in arms.values() for s in arm or {}):
        figures = {arm: (arms[arm] or {}).get(name) or {} for arm in names}
        there = dict.fromkeys(m for f in figures.values() for m, v in f.items() if isinstance(v, dict))
        metrics = [m for m in METRICS if m in there] + [m for m in there if m not in METRICS]
        beside = {b: _baseline((baselines[b] or {}).get(name)) for b in baselines}
        beside = {b: figures for b, figures in beside.items() if figures}
        rows = []
        for metric, subset in itertools.product(metrics, SUBSETS):
            values = [(figures[arm].get(metric) or {}).get(subset) for arm in names]
            if subset != "all" and not any(map(finite, values)):
                continue
            sign = METRICS.get(metric, ("", 0))[1]
            cells = _mark_best(values, sign)
            shown = [figures.get(metric) if subset == "all" else None for figures in beside.values()]
            cells += [("" if value is None else number(value), False) for value in shown]
            rows.append(
                {
                    "metric": METRICS.get(metric, (words(metric),))[0],
                    "subset": words(subset),
                    "key": (metric, subset),
                    "better": {-1: "lower", 0: "", 1: "higher"}[sign],
                    "cells": cells,
                }
            )
        clips = next((f["clips"] for f in figures.values() if f.get("clips") is not None), None)
        tables.append(
            {
                "name": name,
                "clips": number(clips),
                "columns": [words(n) for n in (*names, *beside)],
                "rows": rows,
            }
        )
    return tables


def _baseline(figures):
    """Metric -> figure of a baseline on one set; a bare number is its latent regret."""
    figures = figures if isinstance(figures, dict) else {"latent_regret": figures}
    return {metric: value for metric, value in figures.items() if finite(value)}


def action_table(evaluation):
    """How everyone acts: ``columns`` (names), ``rows`` of (words, cells), and ``model``, who is compared with.

    Total variation is 0 where two act alike and 1 where they never do the same; it is taken to the
    first column, people where there are recordings of them. None where nothing was measured.
    """
    tables = {name: table for name, table in (evaluation.get("actions") or {}).items() if table}
    if not tables:
        return None
    first = next(iter(tables.values()))
    rows = [("steps", [number(t["steps"]) for t in tables.values()])]
    for key, name in (("camera_speed", "camera, degrees a step"), ("camera_speed_p95", "its 95th percentile")):
        rows.append((name, [number(t[key]) for t in tables.values()]))
    for axis in first["camera_persistence"]:
        rows.append((f"{axis} keeps turning", [number(t["camera_persistence"].get(axis)) for t in tables.values()]))
    rows.append(("does nothing", [_share(t["null"]) for t in tables.values()]))
    for factor in first["used"]:
        rows.append((words(factor), [_share(t["used"].get(factor)) for t in tables.values()]))
    distances = [total_variation(t["frequencies"], first["frequencies"]) for t in tables.values()]
    for factor in first["used"]:
        rows.append((f"total variation, {words(factor)}", [number(d[factor]) for d in distances]))
    names = [words(name) for name in tables]
    return {"columns": names, "rows": rows, "model": names[0]}


def _share(value):
    return f"{100 * value:.1f} %" if finite(value) else MISSING


def _mark_best(values, sign):
    known = [v for v in values if finite(v)]
    best = max(known, key=lambda v: sign * v) if sign and len(set(known)) > 1 else None
    return [(number(v), best is not None and v == best) for v in values]


def comparison_rows(evaluation):
    """The comparisons as dicts of words.

    ``reading`` is "better" or "worse" where the whole interval lies on that side as it is shown, to a tenth of a per
    cent, "interval includes 0" otherwise, and a dash where there is no interval.
    """
    rows = []
    for entry in evaluation.get("comparisons") or []:
        arm, against = words(entry.get("arm") or MISSING), words(entry.get("against") or MISSING)
        low, high = entry.get("low"), entry.get("high")
        name, sign = METRICS.get(entry.get("metric"), (words(entry.get("metric") or MISSING), 0))
        reading = MISSING
        if finite(low) and finite(high):
            if round(100 * low, 1) <= 0 <= round(100 * high, 1):
                reading = "interval includes 0"
            elif sign:
                reading = "better" if sign * low > 0 else "worse"
            else:
                reading = "higher" if low > 0 else "lower"
        rows.append(
            {
                "set": entry.get("set") or MISSING,
                "metric": name,
                "subset": words(entry.get("subset") or MISSING),
                "pair": f"{arm} against {against}",
                "relative": percent(entry.get("relative")),
                "interval": f"{percent(low)} to {percent(high)}",
                "reading": reading,
                "key": tuple(entry.get(k) for k in ("arm", "against", "set", "metric", "subset")),
            }
        )
    return rows


def text_table(evaluation):
    """The checks, and one line a set for each of ``TEXT_SUBSETS``, as plain text of at most 80 columns.

    Columns: latent regret of up to three arms, the paired difference of the first two of
    ``ordered`` with its interval, and AFS-EPE of the same arms. The page has everything.
    """
    evaluation = evaluation or {}
    lines = [f"{'Checks':<63}target" if targets(evaluation) else "Checks"]
    for row in check_rows(evaluation):
        name = row["words"] + (f", {row['unit']}" if row["unit"] else "")
        verdict = {True: "met", False: "MISSED", None: ""}[row["met"]]
        lines.append(f"  {name:<50.50}{row['value']:>9.9}  {row['target']:<9}{verdict}".rstrip())
    arms = evaluation.get("arms") or {}
    if not arms:
        return "\n".join(lines)
    pair = ordered(arms)[:2]
    shown = [a for a in SHORT_NAMES if a in arms] + [a for a in arms if a not in SHORT_NAMES]
    shown = shown[:3]
    heads = "".join(f"{SHORT_NAMES.get(arm, arm):>6.5}" for arm in shown)
    against = " vs ".join(f"{SHORT_NAMES.get(arm, arm):.5}" for arm in pair) + ", %" if len(pair) == 2 else ""
    for subset in TEXT_SUBSETS:
        title = "All clips" if subset == "all" else words(subset).capitalize()
        width = max(14, 6 * len(shown))  # the heading's
        lines += ["", f"{title:<20}{'latent regret':>{width}.{width}}{'':22}{'AFS-EPE, px':>{width}.{width}}"]
        lines.append(f"{'':<20}{heads:>{width}}{against:>22.21}{heads:>{width}}".rstrip())
        for name in dict.fromkeys(s for arm in arms.values() for s in arm or {}):
            label = name.replace(CONTROL, "frozen")
            regret, afs = (_text_cells(arms, shown, name, m, subset) for m in ("latent_regret", "afs_epe"))
            difference = _text_difference(evaluation, (*pair, name, "latent_regret", subset))
            lines.append(f"{label:<20.20}{regret:>{width}}{difference:>22.21}{afs:>{width}}".rstrip())
    lines += ["", "Lower is better. In brackets: 95 % interval, bootstrap over the same clips."]
    return "\n".join(line[:80] for line in lines)


def _text_cells(arms, shown, name, metric, subset):
    """The figures of one set and metric, six columns an arm."""
    cells = ""
    for arm in shown:
        value = (((arms[arm] or {}).get(name) or {}).get(metric) or {}).get(subset)
        digits = max(0, 3 - len(f"{abs(value):.0f}") + 1) if finite(value) else 0
        cells += f"{f'{value:.{digits}f}' if finite(value) else MISSING:>6.6}".replace("-", MINUS)
    return cells


def _text_difference(evaluation, key):
    """``-3.0 (-5.1, -0.9)`` in per cent for the comparison called ``key``; "" where there is none."""
    for entry in evaluation.get("comparisons") or []:
        if tuple(entry.get(k) for k in ("arm", "against", "set", "metric", "subset")) == key:
            figures = [entry.get(k) for k in ("relative", "low", "high")]
            if all(map(finite, figures)):
                return "{:+.1f} ({:+.1f}, {:+.1f})".format(*(100 * f for f in figures)).replace("-", MINUS)
    return ""


def number(value):
    """A figure in four digits, words as they are, and a dash for what is missing or not finite."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, np.generic):
        value = value.item()
    if not finite(value):
        return MISSING
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ").replace("-", MINUS)
    if value == 0:
        return "0"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}" if digits <= 6 else f"{value:.2e}"
    return text.replace("-", MINUS, 1) if value < 0 else text


def percent(value):
    """A share as signed per cent with one digit, or a dash."""
    return f"{100 * value:+.1f} %".replace("-", MINUS) if finite(value) else MISSING


def words(name):
    """A key as words: ``"frozen_reference"`` -> ``"frozen reference"``."""
    return str(name).replace("_", " ")


def ordered(arms):
    """PROWL first, or where it is not among them the first other method; then the frozen reference, then the others."""
    others = [a for a in arms if a not in ("phase1", CONTROL)]
    first = (WHOLE if WHOLE in arms else next(iter(others), CONTROL), CONTROL)
    return [a for a in dict.fromkeys(first) if a in arms] + [a for a in dict.fromkeys(arms) if a not in first]


def finite(value):
    """True for a finite number; False for None, words and booleans."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
