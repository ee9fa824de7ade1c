"""Files that the commands write: JSON in one rename, run folders, checks made before the work starts."""

from __future__ import annotations

import datetime
import importlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from .._atomic import replace_json, to_json

RUNS = Path("runs")


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` to `path` through a temporary name; '-' is stdout, NaN and inf become null."""
    if str(path) == "-":
        click.echo(to_json(content))
    else:
        replace_json(path, content)


def check_writable(path: str | Path, option: str) -> None:
    """Raise OSError unless the file `path` can be written, so that no result is lost at the end."""
    if str(path) == "-":
        return
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{option} {path} is a folder, a file is wanted")
    _probe(path.parent, f"{option} {path}")


def prepare_folder(folder: Path) -> None:
    """Make the run folder and raise OSError unless files can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"--out {folder}: cannot make the folder ({error.strerror})") from error
    _probe(folder, f"--out {folder}")


def choose_folder(out: str | None, data: str, seed: int, overwrite: bool) -> Path:
    """The folder of a new run: runs/NAME for a plain name, a path as it is, else a new name.

    Raises
    ------
    ValueError
        If the folder holds a run already and `overwrite` is false.
    """
    if out is not None:
        check_named(out)
        path = Path(out).expanduser()
        folder = RUNS / path if path.parent == Path() and path.name == out else path
        if not overwrite and folder.is_dir() and any(folder.iterdir()):
            raise ValueError(
                f"--out {folder} is not empty; choose another name, or replace the run in it with --overwrite"
            )
        return folder
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    stem = f"{Path(data).stem or 'data'}-{stamp}-seed{seed}"
    folder = RUNS / stem
    count = 1
    while folder.exists():
        count += 1
        folder = RUNS / f"{stem}-{count}"
    return folder


def check_named(out: str) -> None:
    """Raise ValueError for an empty --out, which would be the folder one is in."""
    if not out.strip():
        raise ValueError("--out is empty; wanted a name or a path")


def find_run(name: str) -> Path:
    """The folder of a run to go on with: a folder, the checkpoint in it, or a NAME in runs, as --out takes it."""
    path = Path(name).expanduser()
    if not path.exists() and path.parent == Path() and (RUNS / path).is_dir():
        path = RUNS / path
    return path.parent if path.is_file() else path


def require(packages: Iterable[str]) -> None:
    """Raise ValueError with the command that installs what is missing of `packages`."""
    missing = []
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            missing.append(package)
    if missing:
        raise ValueError(f"{', '.join(missing)} not installed: pip install 'deltarule[train]'")


def _probe(folder: Path, what: str) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"{what}: cannot write in {folder} ({error.strerror})") from error
