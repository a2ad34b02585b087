"""The curves of the report page, as inline SVG."""

import dataclasses
import html
import io
import math
import re

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# The SVGs lie inside the page, so that its style sheet colours them for a light or a dark screen:
# matplotlib draws in these stand-ins, which become the colours that the style sheet names.
_STAND_INS = {
    "#000001": "var(--ink-soft)",
    "#000002": "var(--line)",
    "#000003": "var(--alarm)",
    "#000010": "var(--series-1)",
    "#000011": "var(--series-2)",
    "#000012": "var(--series-3)",
    "#000013": "var(--series-4)",
    "#000014": "var(--series-5)",
}
_INK, _LINE, _ALARM, *_SERIES = _STAND_INS
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "prowl_jax",
    "font.size": 9,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "grid.color": _LINE,
    "text.color": _INK,
}
_POINTS = 160  # a curve is averaged down to about this many points


@dataclasses.dataclass(frozen=True)
class Curve:
    """One figure of the report: ``key`` of the rows of ``stage``, one line for each arm."""

    title: str
    stage: str
    keys: tuple  # the first of these that the rows have
    note: str = ""
    line: float | None = None  # a dashed level, such as an alarm


def training_curves(targets):
    """The curves of phase 1 and before; ``targets`` are the checks' bounds, ``tables.targets``."""
    return (
        Curve("World model: loss", "world_model", ("loss",), "flow matching, lower is better"),
        Curve(
            "Autoencoder: PSNR", "autoencoder", ("psnr",), "dB, higher is better", targets.get("autoencoder_psnr_db")
        ),
        Curve("Reference policy: NLL", "behaviour", ("nll", "loss"), "nats an action, lower is better"),
    )


def cycle_curves(camera_alarm=None):
    """The curves of phase 2; ``camera_alarm`` is ``adversary.camera_alarm``, None where it is not known."""
    alarm = "" if camera_alarm is None else f"alarm above {camera_alarm:g}"
    camera = ("camera_speed_over_reference",)
    return (
        Curve("KL to the reference", "phase2", ("kl_to_reference",), "nats a step"),
        Curve("Camera speed over the reference's", "phase2", camera, alarm, camera_alarm),
        Curve("Mean regret in the PAT buffer", "phase2", ("pat_mean_regret",)),
        Curve("Mean AFS-EPE in the PAT buffer", "phase2", ("pat_mean_afs",), "pixels"),
        Curve("Return", "phase2", ("return",), "a sanity check only: its scale moves with the buffer"),
        Curve("Entropy of the policy", "phase2", ("entropy",), "nats"),
        Curve("Clipped share of PPO's ratios", "phase2", ("clip_fraction",)),
        Curve("World model: loss", "phase2", ("world_model_loss",), "lower is better"),
    )


def draw_curves(metrics, curves, arms):
    """Draw those of ``curves`` that ``metrics`` has figures for.

    Args:
      metrics: rows of ``metrics.jsonl``.
      curves: ``Curve``s, such as ``training_curves(...)``.
      arms: names of the arms; the position of an arm gives its colour.

    Returns:
      A list of dicts ``title``, ``note`` and ``svg``, the SVG as text.
    """
    drawn = []
    for curve in curves:
        rows = [r for r in metrics if isinstance(r, dict) and r.get("stage") == curve.stage]
        key = next((k for k in curve.keys if any(_finite(r.get(k)) for r in rows)), None)
        if key is None:
            continue
        lines = {}
        for row in rows:
            if _finite(row.get("step")) and _finite(row.get(key)):
                lines.setdefault(row.get("arm"), []).append((row["step"], row[key]))
        names = [arm for arm in (None, *arms) if arm in lines]
        drawn.append(
            {
                "title": curve.title,
                "note": curve.note,
                "svg": _svg(curve, [(series_of(arm, arms), lines[arm]) for arm in names]),
            }
        )
    return drawn


def series_of(arm, arms):
    """The number, from 1, of the colour in which ``arm`` is drawn."""
    return (list(arms).index(arm) if arm in arms else 0) % len(_SERIES) + 1


def _svg(curve, lines):
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 2.3), layout="constrained")
        axes = bare_axes(figure, "y")
        axes.locator_params(nbins=6)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("cycle" if curve.stage == "phase2" else "step")
        for series, points in lines:
            steps, values = _averaged(sorted(points))
            few = {"marker": "o", "markersize": 3.5} if len(steps) < 30 else {}
            axes.plot(steps, values, color=_SERIES[series - 1], linewidth=1.8, **few)
        if curve.line is not None:
            axes.axhline(curve.line, color=_ALARM, linewidth=1.2, linestyle=(0, (4, 3)))
        text = svg_text(figure)
    return _for_page(text, curve.title)


def bare_axes(figure, grid):
    """Axes without a frame at the top and right, with a grid along ``grid`` ("x" or "y")."""
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def svg_text(figure):
    """A figure as SVG: the same figure, the same text."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return text.getvalue()


def _averaged(points):
    """Sorted (step, value) pairs -> about ``_POINTS`` means over consecutive steps."""
    size = max(1, math.ceil(len(points) / _POINTS))
    groups = [np.mean(points[i : i + size], axis=0) for i in range(0, len(points), size)]
    return [g[0] for g in groups], [g[1] for g in groups]


def _for_page(svg, title):
    """An SVG file as an element of a page: coloured by its style sheet, as wide as it is given room."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg\b[^>]*?) (?:width|height)="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg\b[^>]*?) (?:width|height)="[^"]*"', r"\1", svg)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1; font-family: inherit", svg)
    for stand_in, colour in _STAND_INS.items():
        svg = svg.replace(stand_in, colour)
    return svg


def _finite(value):
    return isinstance(value, int | float) and math.isfinite(value)
