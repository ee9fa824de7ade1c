"""A report as text, Markdown and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from .experiment import Claim, Experiment, Report, Settings, Table


def as_json(report: Report) -> dict[str, Any]:
    """Tables, claims and notes; figures by name."""
    return {
        "tables": [
            {
                "title": t.title,
                "columns": list(t.columns),
                "rows": [list(row) for row in t.rows],
                "note": t.note,
            }
            for t in report.tables
        ],
        "claims": [{"text": c.text, "holds": bool(c.holds), "figure": c.figure} for c in report.claims],
        "figures": [f"{name}.png" for name in report.figures],
        "notes": list(report.notes),
    }


def as_markdown(experiment: Experiment, report: Report, facts: Mapping[str, str], settings: Settings) -> str:
    """The page of a run: what it was made with, claims, tables, figures, notes, settings."""
    parts = [f"# {experiment.title}", experiment.reference]
    parts.append("\n".join(f"- {name}: {value}" for name, value in facts.items()))
    if report.claims:
        rows = [(claim.text, _verdict(claim), claim.figure) for claim in report.claims]
        parts += ["## Claims", _markdown_table(("claim", "ours", "figure"), rows)]
    for table in report.tables:
        parts += [f"## {table.title}", _markdown_table(table.columns, table.rows)]
        parts += [table.note] if table.note else []
    parts += [f"![{name}]({name}.png)" for name in report.figures]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in report.notes)]
    lines = "\n".join(f"{name}: {json.dumps(value)}" for name, value in settings.items())
    parts += ["## Settings", f"```\n{lines}\n```"]
    return "\n\n".join(parts) + "\n"


def as_text(content: Mapping[str, Any]) -> str:
    """Tables, claims, notes and files of a report.json, for a terminal."""
    parts = [_text_table(Table(**table)) for table in content["tables"]]
    if content["claims"]:
        claims = [Claim(**claim) for claim in content["claims"]]
        parts.append("\n".join(f"{_verdict(c):<14}  {c.text}: {c.figure}" for c in claims))
    if content["notes"]:
        parts.append("\n".join(content["notes"]))
    names = ["report.md", "report.json", *content["figures"]]
    written = "\n".join(f"  {content['folder']}/{name}" for name in names)
    parts.append(f"{time(content)}; written:\n{written}")
    return "\n\n".join(parts)


def time(content: Mapping[str, Any]) -> str:
    """What the cells took, each by itself, and the clock where they ran side by side.

    >>> time({"seconds": 60.02, "jobs": 1, "wall_seconds": 61.0})
    '60.0 s'
    >>> time({"seconds": 60.02, "jobs": 2, "wall_seconds": 31.0})
    '60.0 s of cells, up to 2 side by side, in 31.0 s'
    """
    seconds, wall = content["seconds"], content["wall_seconds"]
    if content["jobs"] == 1:
        return f"{seconds:.1f} s"
    clock = "" if wall is None else f", in {wall:.1f} s"
    return f"{seconds:.1f} s of cells, up to {content['jobs']} side by side{clock}"


def shown(value: Any) -> str:
    """A table's cell as text.

    >>> [shown(v) for v in ("net 1", 3, 0.0123456, None, float("nan"), True)]
    ['net 1', '3', '0.01235', '-', '-', 'yes']
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "-"
    return str(value)


def _verdict(claim: Claim) -> str:
    return "agrees" if claim.holds else "does not agree"


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    cells = ([shown(value).replace("|", "\\|") for value in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _text_table(table: Table) -> str:
    """Columns of equal width; text to the left, numbers to the right."""
    lines = [list(table.columns), *([shown(value) for value in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numeric = [all(not isinstance(row[i], str) for row in table.rows) for i in range(len(widths))]
    text = [table.title]
    for line in lines:
        cells = zip(line, widths, numeric, strict=True)
        text.append("  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in cells).rstrip())
    return "\n".join([*text, table.note] if table.note else text)
