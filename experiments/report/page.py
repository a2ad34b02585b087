"""The page that a run ends with.

The page is one HTML file that opens from disk: its style, its script, curves and reels lie inside. Without a script
it is whole as well: a reel then is a sheet of its frames.
"""

import dataclasses
import itertools
import json
import pathlib
import re

import markupsafe
import numpy as np

from experiments.report import figures, reels, tables
from experiments.report.headline import headline
from experiments.report.page_templates import template
from experiments.run.files import write_text
from experiments.run.provenance import in_words
from prowl_jax.spans import span

EXPLORED_AT = 8642
"""The port of the command to explore a run that its page tells, and of the link beside it."""


@dataclasses.dataclass(frozen=True)
class Reel:
    """A real clip beside what one or more world models made of the same context and actions.

    Attributes:
      real: uint8 ``[T, H, W, 3]``.
      predicted: name -> uint8 ``[T, H, W, 3]``; its first ``context`` frames are the given ones.
      context: number of frames that were given.
      actions: ``T`` words, what was done on seeing each frame; ``""`` for nothing.
      figures: name -> a number or words, shown under the reel.
      caption: a sentence about it.
    """

    real: np.ndarray
    predicted: dict
    context: int
    actions: list
    figures: dict
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Reels that belong together, under a title and a sentence."""

    title: str
    description: str
    reels: list


@span("pictures")
def write_report(path, *, title, config, evaluation, metrics, galleries, command=None, opening="", explore=None):
    """Write the page.

    Args:
      path: where to, such as ``workdir/report/index.html``; its folder is made.
      title: the page's heading.
      config: the run's config as nested dicts.
      evaluation: what ``evaluation.json`` holds; whatever is missing or null is shown as a dash.
      metrics: the rows of ``metrics.jsonl``.
      galleries: list of Gallery.
      command: the command line that made the run, where it is known.
      opening: HTML that comes after the headline (``quality.opening``).
      explore: the command line that shows the run in a browser at ``EXPLORED_AT``; None: none is told.

    Raises:
      ValueError: the frames or actions of a reel do not fit one another.
    """
    path = pathlib.Path(path)
    evaluation = evaluation or {}
    arms = _arms(evaluation, metrics)
    hunted = {row["arm"] for row in metrics if row.get("stage") == "phase2"}
    page = template("report.html").render(
        title=title,
        opening=markupsafe.Markup(opening),
        command=command or "python -m experiments.prowl_main --config=FILE --workdir=DIR",
        headline=headline(evaluation),
        explore=explore,
        explored_at=f"http://127.0.0.1:{EXPLORED_AT}/",
        checks=(checks := tables.check_rows(evaluation)),
        targets=[row for row in checks if row["met"] is not None],
        arms=[{"name": tables.words(a), "series": figures.series_of(a, arms)} for a in arms if a in hunted],
        sets=tables.set_tables(evaluation),
        comparisons=tables.comparison_rows(evaluation),
        actions=tables.action_table(evaluation),
        budget=[(tables.words(k), tables.number(v)) for k, v in _flat(evaluation.get("budget") or {})],
        training=_curves(metrics, figures.training_curves(tables.targets(evaluation)), arms),
        cycles=_curves(metrics, figures.cycle_curves((config.get("adversary") or {}).get("camera_alarm")), arms),
        galleries=[_gallery(g) for g in galleries],
        frames_per_second=reels.FRAMES_PER_SECOND,
        config=[(k, json.dumps(v, default=str)) for k, v in _flat(config)],
        provenance=in_words(evaluation.get("provenance")),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page)


def _gallery(gallery):
    return {
        "title": gallery.title,
        "description": gallery.description,
        "reels": [_reel(reel) for reel in gallery.reels],
    }


def _reel(reel):
    """What the template shows of a reel; ``about`` is for its script."""
    names = ["real", *map(tables.words, reel.predicted)]
    sheet = reels.sheet(reel)
    about = {key: sheet[key] for key in ("size", "columns")}
    actions = [_with_minus(word) or "nothing" for word in reel.actions]
    return {
        "sheet": sheet["uri"],
        "names": names,
        "about": about | {"context": reel.context, "actions": actions},
        "caption": reel.caption,
        "figures": [(tables.METRICS.get(k, (tables.words(k),))[0], tables.number(v)) for k, v in reel.figures.items()],
        "runs": run_lengths(actions),
    }


def _curves(metrics, curves, arms):
    drawn = figures.draw_curves(metrics, curves, arms)
    return [{**d, "svg": markupsafe.Markup(d["svg"])} for d in drawn]


def _arms(evaluation, metrics):
    return tables.ordered([*(evaluation.get("arms") or {}), *(r["arm"] for r in metrics if r.get("arm"))])


def _flat(tree, prefix=""):
    """Nested dicts -> ``(dotted key, value)`` pairs."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), value


def run_lengths(words):
    """Words per frame -> runs: ``["forward", "forward", "nothing"]`` -> ``[("forward", 2), ("nothing", 1)]``."""
    return [(word, len(list(run))) for word, run in itertools.groupby(words)]


def _with_minus(word):
    """``"yaw -5.8"`` with a minus sign for its hyphen."""
    return re.sub(r"(?<!\w)-(?=\d)", tables.MINUS, word)
