"""``deltarule reproduce``: classic results, redone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .. import papers
from .files import RUNS, check_named, check_writable, require, write_json


@click.command(
    short_help="Redo a classic result of deep learning.", epilog=f"NAME is one of {', '.join(papers.NAMES)}."
)
@click.argument("name", metavar="NAME", required=False)
@click.option("--quick", is_flag=True, default=None, help="Minutes instead of hours; keeps the ordering.")
@click.option("--seeds", type=click.IntRange(min=1), metavar="N",
              help="Repeat with the seeds 0 to N-1. [default: 3; --quick 1]")  # fmt: skip
@click.option("--device", metavar="NAME", help="cpu, cuda, cuda:1. [default: cpu]")
@click.option("--precision", type=click.Choice(["highest", "high", "medium"]),
              help="Of matrix products. [default: highest]")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), metavar="N",
              help="Cells that run side by side, with the threads shared among them. "
                   "[default: one a thread; 1 on a GPU]")  # fmt: skip
@click.option("--data-dir", metavar="DIR", help="Folder that holds the files of MNIST. [default: downloaded]")
@click.option("--set", "changes", metavar="NAME=VALUE", multiple=True,
              help="Change a setting of the experiment (those in settings.json); VALUE as JSON has it. "
                   "May be repeated, also for one NAME: its parts are merged, the later wins.")  # fmt: skip
@click.option("--out", metavar="DIR", help="Folder to write. [default: runs/NAME]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out; what is not given is the run's.")
@click.option("--json", "json_path", metavar="FILE", help="Write the report to FILE as JSON ('-': stdout).")
def reproduce(
    name: str | None,
    quick: bool | None,
    seeds: int | None,
    device: str | None,
    precision: str | None,
    jobs: int | None,
    data_dir: str | None,
    changes: tuple[str, ...],
    out: str | None,
    resume: bool,
    json_path: str | None,
) -> int:
    """Redo the result NAME: its table beside the paper's, its figures, in runs/NAME.

    \b
    deltarule reproduce lecture
    deltarule reproduce glorot2010 --quick --data-dir mnist
    deltarule reproduce glorot2010 --resume
    deltarule reproduce ciresan2010 --set nets=[1,4] --device cuda
    """
    from ..papers.report import as_text
    from ..papers.runner import reproduce as run

    if name is None:
        raise click.UsageError(f"Missing argument 'NAME'; choices: {', '.join(papers.NAMES)}")
    require(["matplotlib", "tqdm"])
    papers.load(name)  # an unknown name is the first to be told
    if json_path is not None:
        check_writable(json_path, "--json")
    if out is not None:
        check_named(out)
    folder = RUNS / name if out is None else Path(out).expanduser()
    quiet = json_path == "-"
    try:
        report = run(
            name, folder, quick, seeds, device, precision, data_dir, resume,
            progress=True, say=lambda line: click.echo(line, err=quiet),
            changes=_changes(changes) or None, jobs=jobs,
        )  # fmt: skip
    except KeyboardInterrupt:
        from . import INTERRUPTED

        click.echo(_interrupted(name, folder), err=True)
        return INTERRUPTED
    if not quiet:
        click.echo(as_text(report))
    if json_path is not None:
        write_json(json_path, report)
    return 0


def _changes(texts: Sequence[str]) -> dict[str, Any]:
    """All of them by name: ``a={"b":1}`` and then ``a={"c":2}`` are ``a={"b":1,"c":2}``."""
    found: dict[str, Any] = {}
    for text in texts:
        name, value = _change(text)
        found = _merged(found, {name: value})
    return found


def _merged(before: Any, now: Any) -> Any:
    """``now``; with what ``before`` has besides, where both are mappings."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return now
    return {**before, **{key: _merged(before.get(key), value) for key, value in now.items()}}


def _change(text: str) -> tuple[str, Any]:
    """NAME=VALUE; what is no JSON is text: ``loss=squared_error``."""
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--set {text}: wanted NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _interrupted(name: str, folder: Path) -> str:
    if not (folder / "settings.json").is_file():
        return "interrupted before anything was done"
    command = ["deltarule", "reproduce", name, "--out", str(folder), "--resume"]
    return f"interrupted; what is done is in {folder}. Go on with:\n  {shlex.join(command)}"
