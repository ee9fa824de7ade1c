"""One run of an experiment: every cell once, each saved when it is over; then the report.

OUT/settings.json          what the run was started with; compared on resume
OUT/cells/KEY.json, .npz   results of the cells that are over
OUT/cells/KEY/             checkpoints of those that have begun
OUT/seconds.json           how long it took so far
OUT/report.json, report.md, FIGURE.png
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import _core, data
from .._atomic import PathLike, replace_json
from .._progress import wanted
from . import load
from .experiment import Experiment, Report
from .jobs import as_jobs, run_all
from .records import check_keys
from .settings import SETTINGS, check_same, choose, new_settings, saved_settings
from .work import Work, find_images
from .writing import draw, write

CELLS = "cells"


def reproduce(
    name: str,
    out: PathLike,
    quick: bool | None = None,
    seeds: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    data_dir: PathLike | None = None,
    resume: bool = False,
    progress: bool | str = False,
    say: Callable[[str], None] = lambda _: None,
    changes: Mapping[str, Any] | None = None,
    jobs: int | None = 1,
) -> dict[str, Any]:
    """Redo the experiment ``name`` in the folder ``out``, and report.

    Parameters
    ----------
    name : str
        One of `deltarule.papers.NAMES`.
    out : path
        Folder of the run; made if it is not there.
    quick, seeds, device, precision
        With ``resume``, None means that of the run; else False, 3 seeds (quick: 1), "cpu" and "highest".
    data_dir : path, optional
        Folder of MNIST's files; with ``resume``, that of the run unless given.
    resume : bool
        Go on with the run in ``out``. Cells that are over are not run again.
    progress : bool or "always"
        Bars on stderr: over the cells and, where they run one after the other, over the epochs of each.
    say : function of str
        Gets a line about data that are not the paper's, one for a figure that cannot be drawn and, without a bar,
        one for every cell.
    changes : mapping, optional
        Settings of the experiment that are to be others, by name; with ``resume``, None means those of the run.
    jobs : int, optional
        How many cells run side by side, in processes of their own among which the threads are shared; the result
        is the same to the bit where threadpoolctl is installed (extra ``train``), which has NumPy's linear algebra
        take one thread in each. None: one a thread on the CPU, 1 on a GPU. A run may go on with another number.

    Returns
    -------
    dict
        The content of ``out/report.json``.

    Raises
    ------
    ValueError, OSError, DeviceError
        Unknown names, a missing device, missing or damaged data, a folder that holds a run (without ``resume``)
        or a run with other settings (with it): before anything is written. DivergedError from a training;
        ChildProcessError, an OSError, if a cell's process was ended from outside.
    KeyboardInterrupt
        Ctrl-C; what is done is saved.
    """
    wanted(progress, "reproduce")
    experiment = load(name)
    folder = Path(out)
    before = saved_settings(folder, resume)
    chosen = choose(
        before,
        quick=quick,
        seeds=seeds,
        device=device,
        precision=precision,
        data_dir=data_dir,
        changes=changes,
    )
    jobs = as_jobs(jobs, chosen["device"])
    # Raises if there is no such device or precision.
    _core.Network(1, "squared_error", "float32", chosen["precision"], chosen["device"], 0)
    now = new_settings(experiment, chosen)
    if before is not None:
        check_same(before, now, folder)
    # Cells refuse settings that cannot be run: before images are looked for, and downloaded.
    cells = experiment.cells(now["settings"], now["seeds"])
    check_keys(experiment, cells)
    dataset, note = _images(experiment, chosen, before, progress)
    if dataset is not None:
        now["data"] = {"name": dataset.name, "sha256": dataset.sha256()}
    if before is not None:
        check_same(before, now, folder, ["data"])
    settings = dict(now["settings"])
    if dataset is not None:
        settings |= {"data": dataset.name, "images": len(dataset.train)}
    if note:
        say(note)
    (folder / CELLS).mkdir(parents=True, exist_ok=True)
    if before is None:
        replace_json(folder / SETTINGS, now)
    work = Work(
        settings, chosen["device"], chosen["precision"],
        None if chosen["data_dir"] is None else Path(chosen["data_dir"]),
        folder, progress, chosen["quick"], dataset,
    )  # fmt: skip
    results = run_all(cells, work, folder / CELLS, jobs, say)
    report = experiment.report(settings, {key: record["result"] for key, record in results.items()})
    figures, missing = draw(report, folder)
    for line in missing:
        say(line)
    notes = [*([note] if note else []), *report.notes, *missing]
    return write(experiment, Report(report.tables, report.claims, figures, notes), now, results, folder)


def _images(
    experiment: Experiment, chosen: dict[str, Any], before: dict[str, Any] | None, progress: bool | str
) -> tuple[data.Dataset | None, str]:
    if not experiment.needs_images:
        return None, ""
    name = None if before is None else before["data"]["name"]
    folder = None if chosen["data_dir"] is None else Path(chosen["data_dir"])
    return find_images(folder, chosen["quick"], name, progress)
