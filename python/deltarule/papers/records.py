"""What a cell gave, on the disk: run it, keep it, read it back.

FOLDER/KEY.json, .npz   results of a cell that is over; KEY.json is written last and says that it is
FOLDER/KEY/             of one that is not: checkpoints, and the seconds of its interrupted parts
"""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
import time
import zipfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from .. import _core
from .._atomic import replace, replace_json
from .experiment import Cell, Experiment
from .work import Work

ELAPSED = "seconds.json"


def check_keys(experiment: Experiment, cells: Sequence[Cell]) -> None:
    """Raise ValueError unless the keys are names of files, no two alike."""
    keys = [cell.key for cell in cells]
    wrong = [
        key for key in keys if keys.count(key) > 1 or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", key)
    ]
    if wrong:
        raise ValueError(f"{experiment.name}: keys of cells are {wrong}; wanted unique names of files")


def is_over(cell: Cell, folder: Path) -> bool:
    """Whether the cell has its record in ``folder``."""
    return (folder / f"{cell.key}.json").is_file()


def run(cell: Cell, work: Work, folder: Path, jobs: int) -> None:
    """Run one of ``jobs`` cells that run side by side, and write its record."""
    own = folder / cell.key
    own.mkdir(exist_ok=True)
    earlier = elapsed(own) or 0.0
    start = time.perf_counter()
    try:
        with _one_blas_thread():
            result = dict(cell.run(dataclasses.replace(work, folder=own)))
    except BaseException:
        replace_json(own / ELAPSED, earlier + time.perf_counter() - start)
        raise
    arrays = {name: value for name, value in result.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in result.items() if name not in arrays}
    if arrays:
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
        replace(folder / f"{cell.key}.npz", content.getvalue())
    record = {
        "key": cell.key,
        "title": cell.title,
        "arrays": sorted(arrays),
        "seconds": earlier + time.perf_counter() - start,
        "isa": _core.isa(),
        "threads": _core.num_threads(),  # at the end: it may have had fewer before
        "jobs": jobs,
        "result": rest,
    }
    # Last, because its presence says that the cell is over.
    replace_json(folder / f"{cell.key}.json", record)
    shutil.rmtree(own, ignore_errors=True)


def _one_blas_thread() -> AbstractContextManager[Any]:
    """NumPy's linear algebra on one thread, where threadpoolctl is installed.

    Its bits depend on how many there are; and cells side by side, each with one a core, hold each other up: the
    eigenvalues of glorot2010 took 154 s instead of 4 on two cores that were busy.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[Any] = threadpool_limits(1, "blas")
    return limits


def read(cell: Cell, folder: Path) -> dict[str, Any]:
    """What `run` has written, arrays included: a report sees the same whether a cell ran now or before.

    Raises
    ------
    ValueError
        Naming the file that is missing or damaged, and what to do.
    """
    advice = f"delete {cell.key}.json there, and --resume runs the cell again"
    record = read_json(folder / f"{cell.key}.json", {"key", "title", "arrays", "seconds", "result"}, advice)
    record["result"].setdefault("seconds", record["seconds"])
    if record["arrays"]:
        path = folder / f"{cell.key}.npz"
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                record["result"].update({name: file[name] for name in record["arrays"]})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is missing or damaged; {advice}") from error
    return record


def elapsed(folder: Path) -> float | None:
    """Seconds that what goes on in ``folder`` took so far; None where nothing says so."""
    path = folder / ELAPSED
    if not path.is_file():
        return None
    try:
        return float(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it: only the time is lost") from error


def read_json(path: Path, keys: set[str], advice: str) -> dict[str, Any]:
    """The content of ``path``; ValueError, with ``advice``, if it is damaged or lacks one of the keys."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = keys - content.keys()
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}); {advice}") from error
    if missing:
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}; {advice}")
    return content
