"""The report of a run in its folder: figures, page, numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import plots
from .._atomic import replace, replace_json
from .experiment import Experiment, Report
from .records import elapsed
from .report import as_json, as_markdown, time

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT, PAGE = "report.json", "report.md"


def draw(report: Report, folder: Path) -> tuple[dict[str, Callable[[], Figure]], list[str]]:
    """Write the figures; those that are there, and a line for each that could not be drawn.

    What costs hours must not be lost for a picture: the report is written without it. A full disk is an error.
    """
    drawn, missing = {}, []
    for name, draw in report.figures.items():
        try:
            plots.save(draw(), folder / f"{name}.png")
            drawn[name] = draw
        except OSError:
            raise
        except Exception as error:
            missing.append(
                f"Figure {name} is missing, it could not be drawn: {type(error).__name__}: {error}"
            )
    return drawn, missing


def write(
    experiment: Experiment,
    report: Report,
    settings: Mapping[str, Any],
    records: Mapping[str, dict[str, Any]],
    folder: Path,
) -> dict[str, Any]:
    """Page and numbers; the numbers."""
    jobs = max(record.get("jobs", 1) for record in records.values())
    seconds = {key: record["seconds"] for key, record in records.items()}
    content = {
        "experiment": experiment.name,
        "title": experiment.title,
        "reference": experiment.reference,
        **as_json(report),
        "seconds": sum(seconds.values()),
        "jobs": jobs,
        "wall_seconds": elapsed(folder),
        "cells": seconds,
        "run": settings,
        "folder": str(folder),
    }
    where = settings["machine"]
    facts = {
        "data": "none" if settings["data"] is None else settings["data"]["name"],
        "seeds": ", ".join(map(str, settings["seeds"])),
        "device": f"{settings['device']}, precision {settings['precision']}",
        "made with": f"deltarule {where['deltarule']}, NumPy {where['numpy']}, Python {where['python']}, "
        f"{where['system']}, {where['isa']}, {where['threads']} threads",
        "time": time(content),
    }
    replace(folder / PAGE, as_markdown(experiment, report, facts, settings["settings"]).encode())
    replace_json(folder / REPORT, content)
    loaded: dict[str, Any] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    return loaded
