"""What came of a run in a few lines: the paired differences of two of its arms, with their intervals."""

import itertools

from experiments.report import tables

METRICS = ("latent_regret", "afs_epe")
"""What PROWL hunts by (its raw scores), and so what a reader asks for first."""


def headline(evaluation):
    """The differences over all clips of each set, between the first two arms of ``tables.ordered`` that are compared.

    That is the method against its control, or against phase 1 where there is no control.

    Args:
      evaluation: what ``evaluation.json`` holds.

    Returns:
      None where the two are not compared; or a dict of ``pair`` (words), ``better``, ``worse`` and ``even`` (how many
      differences are so, their whole interval on one side of 0 or not), and ``groups``: pairs of a metric's words and
      its rows, those of ``tables.comparison_rows`` with ``bar``: where the interval begins, how wide it is, where the
      difference lies and where 0 does, in per cent of the widest reach of all rows; None without an interval.
    """
    arms, entries = tables.ordered(evaluation.get("arms") or {}), evaluation.get("comparisons") or []
    told = [
        (row, entry)
        for row, entry in zip(tables.comparison_rows(evaluation), entries, strict=True)
        if row["key"][3] in METRICS and row["key"][4] == "all"
    ]
    compared = {row["key"][:2] for row, _ in told}
    pair = next((pair for pair in itertools.combinations(arms, 2) if pair in compared), None)
    rows = [(row, entry) for row, entry in told if row["key"][:2] == pair]
    if not rows:
        return None
    values = [entry.get(name) for _, entry in rows for name in ("low", "high", "relative")]
    ends = [0.0, *filter(tables.finite, values)]
    begin, reach = min(ends), (max(ends) - min(ends)) or 1.0

    def bar(entry):
        low, high, middle = (entry.get(name) for name in ("low", "high", "relative"))
        if not all(map(tables.finite, (low, high, middle))):
            return None
        left, point, zero = (100 * (x - begin) / reach for x in (low, middle, 0.0))
        return {"left": left, "width": 100 * (high - low) / reach, "point": point, "zero": zero}

    shown = [row | {"bar": bar(entry)} for row, entry in rows]
    readings = [row["reading"] for row in shown]
    return {
        "pair": shown[0]["pair"],
        "better": readings.count("better"),
        "worse": readings.count("worse"),
        "even": len(readings) - readings.count("better") - readings.count("worse"),
        "groups": [
            (tables.METRICS[metric][0], [row for row in shown if row["key"][3] == metric])
            for metric in METRICS
            if any(row["key"][3] == metric for row in shown)
        ],
    }
