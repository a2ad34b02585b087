"""The plots of studies:  python -m experiments.study.plots results/study_*.json [--folder=docs/figures]

writes NAME_critical.svg (regret on the fixed critical trajectories against theta_0), NAME_kl.svg (KL to the reference,
cycle by cycle), NAME_camera.svg (camera speed against c_kl), NAME_long.svg (regret by predicted frame against theta_0),
NAME_dense.svg (appearance and AFS-EPE on the clips with the most action, against the frozen reference) and, where the
world knows events, NAME_events.svg. Intervals are 95 % bootstraps: of regret over seeds and clips, of all
else over seeds. Where doses were asked for, NAME_dose.svg is what PROWL gains over its control by how much of what.
Moving pictures that the study has left beside its results (NAME_critical.webp, NAME_acted.webp) are copied.
"""

import pathlib
import sys
import textwrap

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.report.figures import STYLE, bare_axes, svg_text
from experiments.report.tables import words
from experiments.stages.arms import CONTROL
from experiments.study.tables import DOSED, dense_rows, dense_words
from prowl_jax.metrics.intervals import mean_interval

# Legible on white and on black, since a page may be either.
_INK, _LINE, _ALARM = "#7d838c", "#b0b5bd", "#d1495b"
_COLOURS = (
    "#8a8f98", "#e4572e", "#2e86ab", "#76b041", "#b07aa1", "#d9a404", "#c2255c", "#17a398", "#6c63d6", "#a0703c",
)  # fmt: skip
_PLAIN = {
    **STYLE,
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), _LINE),
    **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor", "text.color"), _INK),
    "legend.labelcolor": _INK,
}


def main(argv):
    """Draw; returns the exit code."""
    from experiments.run.command_line import Parser, fail
    from experiments.run.files import write_bytes, write_text
    from experiments.study.results import load_results

    parser = Parser("python -m experiments.study.plots", __doc__)
    parser.add_argument("files", nargs="+", type=pathlib.Path, help="results of studies")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("docs/figures"))
    options = parser.parse_args(argv)
    options.folder.mkdir(parents=True, exist_ok=True)
    for file in options.files:
        try:
            results = load_results(file)
        except ValueError as error:
            fail(error)
        for name, svg in draw(results).items():
            path = options.folder / f"{results['study']}_{name}.svg"
            write_text(path, svg)
            print(f"written: {path}")
        for picture in sorted(file.parent.glob(f"{file.stem}_*.webp")):
            write_bytes(options.folder / picture.name, picture.read_bytes())
            print(f"written: {options.folder / picture.name}")
    return 0


def draw(results):
    """Name -> SVG of all plots that the results have figures for."""
    plots = {"critical": critical, "kl": kl, "camera": camera, "long": long}
    if dense_rows(results):
        plots["dense"] = dense
    if results["events"]:
        plots["events"] = events
    if results.get("dose"):
        plots["dose"] = dose
    return {name: _drawn(plot, results) for name, plot in plots.items()}


def _drawn(plot, results):
    with matplotlib.rc_context(_PLAIN):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        plot(figure, results)
        return svg_text(figure)


def colour(results, arm):
    """The colour of an arm, the same in every plot of a study; that of text for who is none of its arms."""
    arms = list(results["arms"])
    return _COLOURS[arms.index(arm) % len(_COLOURS)] if arm in arms else _INK


def critical(figure, results):
    """One point an arm: relative difference of the regret, per cent."""
    rows = results["differences"]["phase1"]["critical"]["latent_regret"]["all"]
    axes, arms = bare_axes(figure, "x"), list(rows)
    for place, arm in enumerate(arms):
        relative, *_, low, high = rows[arm]
        _point(axes, 100 * np.array([relative, low, high]), place, colour(results, arm))
    axes.axvline(0, color=_INK, linewidth=1)
    _name_rows(axes, [words(arm) for arm in arms])
    axes.set_xlabel("regret on critical trajectories, % of theta_0's")


def kl(figure, results):
    """KL to the reference by cycle: mean of the seeds and its interval."""
    axes = bare_axes(figure, "y")
    for arm in results["arms"]:
        _band(axes, results["cycles"][arm]["kl_to_reference"], colour(results, arm), words(arm))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("cycle")
    axes.set_ylabel("KL to the reference, nats a step")
    _legend(figure)


def camera(figure, results):
    """Camera speed over the reference's in the second half of the cycles, against c_kl."""
    axes = bare_axes(figure, "y")
    costs = {arm: described["kl_cost"] for arm, described in results["arms"].items() if described["kl_cost"]}
    for arm, cost in costs.items():
        seeds = results["cycles"][arm]["camera_speed_over_reference"]
        mean, low, high = _over_seeds([np.mean(seed[len(seed) // 2 :]) for seed in seeds])
        alike = [other for other in costs if costs[other] == cost]  # beside one another
        place = cost * 1.06 ** (alike.index(arm) - (len(alike) - 1) / 2)
        axes.errorbar(
            place, mean, [[max(mean - low, 0)], [max(high - mean, 0)]], fmt="o", capsize=3,
            color=colour(results, arm), label=words(arm),
        )  # fmt: skip
    alarm = results["settings"].get("camera_alarm")
    if alarm is not None:  # older studies do not say what it was
        axes.axhline(alarm, color=_ALARM, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.axhline(1, color=_INK, linewidth=1)
    axes.set_xscale("log")
    ticks = sorted(set(costs.values()))
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("c_kl")
    axes.set_ylabel("camera speed over the reference's")
    _legend(figure)


def long(figure, results):
    """Regret of each predicted frame, relative to theta_0's, per cent."""
    axes = bare_axes(figure, "y")
    for arm, curve in results["long_rollout"]["differences"].items():
        relative, low, high = 100 * np.array(curve, float).T
        frames = np.arange(1, len(relative) + 1)
        axes.plot(frames, relative, color=colour(results, arm), linewidth=1.6, label=words(arm))
        axes.fill_between(frames, low, high, color=colour(results, arm), alpha=0.12, linewidth=0)
    axes.axhline(0, color=_INK, linewidth=1)
    axes.set_xlabel("predicted frame")
    axes.set_ylabel("regret, % of theta_0's")
    _legend(figure)


def dense(figure, results):
    """Regret, AFS-EPE, PSNR and SSIM on the clips with the most action: every arm beside the others, per cent."""
    _, rows = dense_rows(results)
    axes, arms = bare_axes(figure, "x"), [arm for arm in results["arms"] if arm != CONTROL]
    for i, arm in enumerate(arms):
        place = np.arange(len(rows)) + 0.7 * ((i + 0.5) / len(arms) - 0.5)
        for row, metric in zip(place, rows, strict=True):
            relative, *_, low, high = np.array(rows[metric][arm], float)
            label = words(arm) if row == place[0] else None
            _point(axes, 100 * np.array([relative, low, high]), row, colour(results, arm), label)
    axes.axvline(0, color=_INK, linewidth=1)
    figure.set_figheight(1.2 + 0.12 * len(rows) * len(arms))
    _name_rows(axes, [dense_words(metric).replace(", ", ",\n") for metric in rows])
    axes.set_xlabel("difference on action-dense clips, % of the frozen reference's")
    _legend(figure)


def dose(figure, results):
    """Regret on critical trajectories against the control's, per cent, by how much of what: a panel an axis.

    Of those that no arm saw, where there are any: they are the same whatever the number of trajectories.
    """
    rows = [row for row in results["dose"] if (row["set"], row["metric"]) == ("critical", "latent_regret")]
    subset = "unseen" if any(row["subset"] == "unseen" for row in rows) else "all"
    rows = [row for row in rows if row["subset"] == subset]
    there = [axis for axis in DOSED if any(row["axis"] == axis for row in rows)]
    panels = figure.subplots(1, len(there), sharey=True, squeeze=False)[0]
    for axes, axis in zip(panels, there, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", linewidth=0.6)
        axes.axhline(0, color=_INK, linewidth=1)
        of_axis = [row for row in rows if row["axis"] == axis]
        for arm in dict.fromkeys(row["arm"] for row in of_axis):
            own = [row for row in of_axis if row["arm"] == arm]
            values, gains = [row["value"] for row in own], np.array([_told(row) for row in own]).T
            tone, label = colour(results, arm), words(arm) if axis == there[0] else None
            axes.plot(values, gains[0], "o-", color=tone, linewidth=1.6, markersize=4, label=label)
            axes.fill_between(values, gains[1], gains[2], color=tone, alpha=0.15, linewidth=0)
        if axis != "base":
            axes.set_xscale("log", base=2)
            ticks = sorted({row["value"] for row in of_axis})
            axes.set_xticks(ticks, list(map(str, ticks)))
            axes.minorticks_off()
        axes.set_xlabel(textwrap.fill(DOSED[axis], 16))
    which = "unseen critical" if subset == "unseen" else "critical"
    panels[0].set_ylabel(f"regret on {which} trajectories,\n% over the control's")
    _legend(figure)


def _told(row):
    """Per cent, and its bounds; a figure without an interval is its own."""
    bounds = [row["relative"] if row[k] is None else row[k] for k in ("low", "high")]
    return 100 * np.array([row["relative"], *bounds], float)


def events(figure, results):
    """How often each event happens, everybody beside one another."""
    axes, who = bare_axes(figure, "x"), list(results["events"])
    names = list(results["events"][who[0]])
    for i, one in enumerate(who):
        place = np.arange(len(names)) + 0.7 * ((i + 0.5) / len(who) - 0.5)
        tone, shape = (_ALARM, "D") if one == "demonstrations" else (colour(results, one), "o")
        for row, name in zip(place, names, strict=True):
            label = words(one) if name == names[0] else None
            _point(axes, _over_seeds(results["events"][one][name]), row, tone, label, shape)
    figure.set_figheight(1.2 + 0.12 * len(names) * len(who))
    _name_rows(axes, [words(name) for name in names])
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_xlim(left=0)
    axes.set_xlabel("times in 1,000 steps")
    _legend(figure)


def _point(axes, values, place, tone, label=None, shape="o"):
    value, low, high = values
    error = [[max(value - low, 0)], [max(high - value, 0)]]
    axes.errorbar(value, place, xerr=error, fmt=shape, capsize=2, markersize=4, color=tone, label=label)


def _name_rows(axes, names):
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()


def _band(axes, seeds, tone, label):
    """Mean and interval over the seeds of ``[seed][cycle]``."""
    mean, low, high = np.array([_over_seeds(values) for values in zip(*seeds, strict=True)]).T
    cycles = np.arange(1, len(mean) + 1)
    axes.plot(cycles, mean, color=tone, linewidth=1.6, label=label)
    axes.fill_between(cycles, low, high, color=tone, alpha=0.15, linewidth=0)


def _over_seeds(values):
    """(mean, low, high); not numbers where no seed has a value."""
    known = [value for value in values if value is not None]
    return tuple(mean_interval(known).values()) if known else (np.nan,) * 3


def _legend(figure):
    figure.legend(loc="outside right center", frameon=False, fontsize=8)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
