"""Methods beside each other, as tables in markdown: what each spent, what it did to the dreams, what papers claim."""

from experiments.report.tables import MINUS, MISSING, number, words
from experiments.study.compared import ACTIONS, BASELINE, FIGURES, LONG, OTHERS, REAL, Figure

HEADINGS = {
    "held_out": "Held-out tasks",
    "in_distribution": "In distribution",
    "long_rollout": "Long rollout",
}
SHARES = {"frozen", "wins"}
FIGURE = {**FIGURES, **ACTIONS, **LONG, "lpips": Figure("LPIPS", None, relative=False)}
NAMES = {"phase1": "theta_0", REAL: "real frames", OTHERS: "real frames against others' actions"}
NOTE = (
    "A figure, and in brackets its change against theta_0, in per cent or else a difference, with its interval of 95 % "
    "over seeds and clips, bold where that leaves out 0. What is read off real frames is the ceiling of what can be "
    "read off dreams, the same held against another clip's actions the floor."
)


def sections(results, table):
    """Parts of a study's document; none where nothing was compared.

    Args:
      table: ``f(head, rows) -> text``.
    """
    parts = ["### What each method spent", _budgets(results, table)] if results.get("budgets") else []
    compared = results.get("compared")
    if not compared:
        return parts
    parts += ["### The methods beside each other", NOTE, *_by_set(compared["rows"], _cell, table)]
    if compared["control"]:
        title = f"### Their change against {words(BASELINE)}, which trained as many tokens on demonstrations alone"
        parts += [title, *_by_set(compared["control"], _change, table)]
    parts += ["### PSNR by step of the long rollout, and its difference to theta_0", _drift(compared["drift"], table)]
    return [*parts, "### What the papers claim", _claims(compared["claims"], table)]


def _budgets(results, table):
    names = ("world_model_tokens", "dreamt_latents", "environment_steps", "repeated_steps", "world_model_updates")
    rows = []
    for arm, spent in results["budgets"].items():
        shown = [number(spent.get(name, 0)) for name in names]
        rows.append([words(arm), *shown, *(number(_mean(spent[n])) for n in ("minutes", "tokens_per_second"))])
    return table(["each seed of", *map(words, names), "minutes", "tokens a second, all counted"], rows)


def _by_set(rows, cell, table):
    """A table for each set that has rows; ``cell`` is ``f(row or None) -> text``."""
    parts = []
    for name, title in HEADINGS.items():
        there = [row for row in rows if row["set"] == name]
        parts += [f"{title}:", _by_arm(there, cell, table)] if there else []
    return parts


def _by_arm(rows, cell, table):
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    found = {(row["arm"], row["metric"]): row for row in rows}
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    lines = [[NAMES.get(arm, words(arm)), *(cell(found.get((arm, metric))) for metric in metrics)] for arm in arms]
    return table(["dreams of", *(FIGURE[metric].title for metric in metrics)], lines)


def _cell(row):
    if row is None or row["value"] is None or (row["arm"], row["metric"]) == ("phase1", "wins"):
        return MISSING
    metric = row["metric"]
    value = f"{100 * row['value']:.0f} %" if metric in SHARES else number(row["value"])
    if metric == "wins" and row["value_low"] is not None:
        value += f" ({100 * row['value_low']:.0f}, {100 * row['value_high']:.0f})"
    if row["change"] is None or row["arm"] in (REAL, OTHERS):
        return value
    return f"{value} {_change(row)}"


def _change(row):
    if row is None:
        return MISSING
    metric = row["metric"]
    return _interval([row[k] for k in ("change", "low", "high")], FIGURE[metric].relative or metric in SHARES)


def _interval(row, percent):
    """``(-3.0 %; -5.1, -0.9)``, bold where the interval leaves out 0."""
    if None in row:
        return ""
    scale, unit = (100, " %") if percent else (1, "")
    digits = ".1f" if percent else ".3f"
    value, low, high = (f"{scale * x:+{digits}}".replace("-", MINUS) for x in row)
    text = f"({value}{unit}; {low}, {high})"
    return f"**{text}**" if row[1] * row[2] > 0 else text


def _drift(drift, table):
    steps = range(1, 1 + len(next(iter(drift.values()))))
    lines = []
    for arm, parts in drift.items():
        cells = [number(part[0]) + (f" {_interval(part[1:], False)}" if part[1] is not None else "") for part in parts]
        lines.append([NAMES.get(arm, words(arm)), *cells])
    return table(["dreams of", *(f"step {step}" for step in steps)], lines)


def _claims(claims, table):
    lines = []
    for claim in claims:
        here = MISSING
        if claim["here"] is not None:
            here = number(claim["here"])
            if claim["low"] is not None:
                here += f" ({number(claim['low'])}, {number(claim['high'])})"
        lines.append([claim["paper"], claim["says"], words(claim["arm"]), here.replace("-", MINUS), claim["verdict"]])
    return table(["paper", "claim", "here", "what came out", "at this scale"], lines)


def _mean(values):
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
