"""The opening of a report: how good the dreams are by frame, and their contact sheet, where they were measured."""

import base64
import json
import pathlib
import re

from experiments.evaluation import quality_table
from experiments.report.page_templates import template
from experiments.run.files import write_text

_BEGIN, _END = "<!-- dream quality -->", "<!-- /dream quality -->"


def opening(workdir):
    """HTML between two comments that ``renew_report`` finds again; nothing between them if nothing was measured."""
    figures, sheet = (pathlib.Path(workdir) / f"dream_quality.{kind}" for kind in ("json", "webp"))
    if not figures.exists() or not sheet.exists():
        return f"{_BEGIN}\n{_END}"
    result = json.loads(figures.read_text())
    text = template("quality.html").render(
        head=quality_table.head(result),
        columns=[column.words for column in quality_table.COLUMNS],
        rows=[
            (frame, quality_table.interval(row, quality_table.ERROR),
             [quality_table.cell(row, column) for column in quality_table.COLUMNS])
            for frame, row in result["frames"].items()
        ],
        sentences=quality_table.sentences(result),
        sheet="data:image/webp;base64," + base64.b64encode(sheet.read_bytes()).decode(),
    )  # fmt: skip
    return f"{_BEGIN}\n{text}\n{_END}"


def renew_report(workdir):
    """Give the report of a run, if it has one, the opening of what was measured since."""
    path = pathlib.Path(workdir) / "report" / "index.html"
    if path.exists():
        page, new = path.read_text(encoding="utf-8"), opening(workdir)
        write_text(path, re.sub(f"{_BEGIN}.*?{_END}", lambda match: new, page, count=1, flags=re.DOTALL))
