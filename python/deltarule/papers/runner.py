"""One run of an experiment: every cell once, each saved when it is over; then the report.

OUT/settings.json          what the run was started with; compared on resume
OUT/cells/KEY.json, .npz   results of the cells that are over
OUT/cells/KEY/             checkpoints of the cell that is not
OUT/report.json, report.md, FIGURE.png
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import platform
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__, _core, data, plots
from .._atomic import PathLike, replace, replace_json
from . import load
from .experiment import Cell, Experiment, Report
from .report import as_json, as_markdown
from .work import Work, find_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SETTINGS, CELLS, REPORT, PAGE = "settings.json", "cells", "report.json", "report.md"
ELAPSED = "seconds.json"  # of a cell's interrupted parts
FULL_SEEDS, QUICK_SEEDS = 3, 1
# Of settings.json: what must be the same when a run goes on.
COMPARED = ("experiment", "quick", "seeds", "device", "precision", "settings")


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
        Bars on stderr: over the cells, and over the epochs of each.
    say : function of str
        Gets a line about data that are not the paper's, one for a figure that cannot be drawn and, without a bar,
        one for every cell.
    changes : mapping, optional
        Settings of the experiment that are to be others, by name; with ``resume``, None means those of the run.

    Returns
    -------
    dict
        The content of ``out/report.json``.

    Raises
    ------
    ValueError, OSError, DeviceError
        Unknown names, a missing device, missing or damaged data, a folder that holds a run (without ``resume``)
        or a run with other settings (with it): before anything is written. DivergedError from a training.
    KeyboardInterrupt
        Ctrl-C; what is done is saved.
    """
    experiment = load(name)
    folder = Path(out)
    before = _saved_settings(folder, resume)
    chosen = _chosen(
        before,
        quick=quick,
        seeds=seeds,
        device=device,
        precision=precision,
        data_dir=data_dir,
        changes=changes,
    )
    # Raises if there is no such device or precision.
    _core.Network(1, "squared_error", "float32", chosen["precision"], chosen["device"], 0)
    now = _settings(experiment, chosen)
    if before is not None:
        _check_same(before, now, folder)
    dataset, note = _images(experiment, chosen, before)
    if dataset is not None:
        now["data"] = {"name": dataset.name, "sha256": dataset.sha256()}
    if before is not None:
        _check_same(before, now, folder, ["data"])
    settings = dict(now["settings"])
    if dataset is not None:
        settings |= {"data": dataset.name, "images": len(dataset.train)}
    cells = experiment.cells(settings, now["seeds"])
    _check_keys(experiment, cells)
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
    results = _run_all(cells, work, folder / CELLS, say)
    report = experiment.report(settings, {key: record["result"] for key, record in results.items()})
    figures, missing = _draw(report, folder)
    for line in missing:
        say(line)
    notes = [*([note] if note else []), *report.notes, *missing]
    return _write(experiment, Report(report.tables, report.claims, figures, notes), now, results, folder)


def _saved_settings(folder: Path, resume: bool) -> dict[str, Any] | None:
    """settings.json of the run to go on with; None for a new run, whose folder must be empty."""
    path = folder / SETTINGS
    if not resume:
        if folder.is_dir() and any(folder.iterdir()):
            raise ValueError(
                f"--out {folder} is not empty; go on with the run in it by --resume, or choose another"
            )
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"--out {folder} is a file; wanted a folder")
        return None
    if not path.is_file():
        raise ValueError(f"--resume: {folder} holds no {SETTINGS}; wanted the folder of a run")
    return _read(path, {*COMPARED, "data", "data_dir"}, "start the run anew in another folder")


def _chosen(before: dict[str, Any] | None, **given: Any) -> dict[str, Any]:
    """What was given; for the rest what the run was started with, or the defaults."""
    if given["seeds"] is not None and given["seeds"] < 1:
        raise ValueError(f"reproduce: seeds is {given['seeds']}; wanted 1 or more")
    seeds = QUICK_SEEDS if given["quick"] else FULL_SEEDS
    rest: dict[str, Any] = {"quick": False, "seeds": seeds, "device": "cpu", "precision": "highest"}
    rest |= {"data_dir": None, "changes": {}}
    if before is not None:
        rest = {**{key: before.get(key, rest[key]) for key in rest}, "seeds": len(before["seeds"])}
    chosen: dict[str, Any] = {key: rest[key] if value is None else value for key, value in given.items()}
    if chosen["data_dir"] is not None:
        chosen["data_dir"] = str(Path(chosen["data_dir"]).expanduser().absolute())
    return chosen


def _images(
    experiment: Experiment, chosen: dict[str, Any], before: dict[str, Any] | None
) -> tuple[data.Dataset | None, str]:
    if not experiment.needs_images:
        return None, ""
    name = None if before is None else before["data"]["name"]
    folder = None if chosen["data_dir"] is None else Path(chosen["data_dir"])
    return find_images(folder, chosen["quick"], name)


def _settings(experiment: Experiment, chosen: dict[str, Any]) -> dict[str, Any]:
    """What settings.json holds, as it is read back from there; the data are not known yet."""
    content = {
        "experiment": experiment.name,
        **chosen,
        "seeds": list(range(chosen["seeds"])),
        "data": None,
        "settings": _changed(experiment, chosen),
        "command": sys.argv[1:],
        "machine": machine(),
    }
    settings: dict[str, Any] = json.loads(json.dumps(content))
    return settings


def _changed(experiment: Experiment, chosen: dict[str, Any]) -> dict[str, Any]:
    """The experiment's settings with those in place that are to be others."""
    settings = experiment.settings(chosen["quick"])
    for key in chosen["changes"]:
        if key not in settings:
            raise ValueError(f"{experiment.name}: {key!r} is no setting; choices: {', '.join(settings)}")
    return {**settings, **{key: _fitting(key, settings[key], new) for key, new in chosen["changes"].items()}}


def _fitting(name: str, default: Any, value: Any) -> Any:
    """``value`` for the setting ``name`` if it is of the default's kind; of a dict, the parts that are to be others.

    Counts stay counts: a whole number above 0 is not replaced by one that is not. None stands for a count, too.
    """
    if isinstance(default, Mapping) and isinstance(value, Mapping):
        by_label = all(key.isdigit() for key in default)  # then others may come
        for key in value:
            if key not in default and not (by_label and key.isdigit()):
                raise ValueError(f"--set {name}: {key!r} is no setting; choices: {', '.join(default)}")
        return {**default, **{k: _fitting(f"{name}.{k}", default.get(k, v), v) for k, v in value.items()}}
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = number and isinstance(value, int)
    if default is None:
        fits, wanted = value is None or (whole and value > 0), "null or a whole number above 0"
    elif isinstance(default, bool | str):
        fits, wanted = (
            type(value) is type(default),
            "true or false" if isinstance(default, bool) else "a text",
        )
    elif isinstance(default, int):
        fits, wanted = whole and (value > 0 or default <= 0), "a whole number above 0"
    elif isinstance(default, float):
        fits, wanted = number and value >= 0, "a number, 0 or more"
    elif isinstance(default, Sequence):
        fits = isinstance(value, list | tuple) and len(value) > 0
        wanted = "a list that is not empty"
    else:
        fits, wanted = False, 'names and values, as in {"name": 1}'
    if not fits:
        raise ValueError(f"--set {name}: {value!r} came; wanted {wanted}")
    if isinstance(value, list | tuple) and not isinstance(default[0], list | tuple):
        return [_fitting(name, default[0], item) for item in value]
    return value


def machine() -> dict[str, Any]:
    """Versions and hardware, for the record."""
    facts = _core.info()
    return {
        "deltarule": __version__,
        "python": platform.python_version(),
        "numpy": importlib.metadata.version("numpy"),
        "system": f"{platform.system()} {platform.machine()}",
        **{key: facts[key] for key in ("isa", "threads", "cores")},
        "gpus": [card["name"] for card in facts["cuda"]["devices"]],
    }


def _check_same(
    before: dict[str, Any], now: dict[str, Any], folder: Path, keys: Sequence[str] = COMPARED
) -> None:
    changes = [change for key in keys for change in differences(before[key], now[key], key)]
    if changes:
        raise ValueError(f"--resume: the run in {folder} has other settings: {', '.join(changes)}")


def differences(before: Any, now: Any, name: str) -> list[str]:
    """How two JSON values differ, in words.

    >>> differences({"epochs": 3, "rate": 1}, {"epochs": 5, "rate": 1}, "settings")
    ['settings.epochs was 3, is now 5']
    """
    if before == now:
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        parts = ((before.get(key, "absent"), now.get(key, "absent"), f"{name}.{key}") for key in keys)
        return [change for part in parts for change in differences(*part)]
    return [f"{name} was {json.dumps(before)}, is now {json.dumps(now)}"]


def _check_keys(experiment: Experiment, cells: Sequence[Cell]) -> None:
    keys = [cell.key for cell in cells]
    wrong = [
        key for key in keys if keys.count(key) > 1 or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", key)
    ]
    if wrong:
        raise ValueError(f"{experiment.name}: keys of cells are {wrong}; wanted unique names of files")


def _run_all(
    cells: Sequence[Cell], work: Work, folder: Path, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """The records of all cells by key; those in ``folder`` are read, the others run."""
    records = {cell.key: _record(folder, cell) for cell in cells if (folder / f"{cell.key}.json").is_file()}
    open_cells = [cell for cell in cells if cell.key not in records]
    done = sum(cell.seconds for cell in cells if cell.key in records)
    bar = _bar(sum(cell.seconds for cell in cells), done, work.progress) if open_cells else None
    with bar or nullcontext():
        for number, cell in enumerate(cells, 1):
            if cell.key in records:
                continue
            title = f"{number}/{len(cells)} {cell.title}"
            if bar is not None:
                bar.set_description(title)
            records[cell.key] = _run(cell, work, folder)
            if bar is not None:
                bar.update(cell.seconds)
            else:
                say(f"{title}: {records[cell.key]['seconds']:.1f} s")
    for cell in cells:
        shutil.rmtree(folder / cell.key, ignore_errors=True)  # of one that was killed after its last file
    return {cell.key: records[cell.key] for cell in cells}


def _bar(total: float, done: float, progress: bool | str) -> Any:
    """A tqdm bar over the expected time of the cells; None where none is wanted."""
    if progress != "always" and not (progress and sys.stderr.isatty()):
        return None
    from tqdm import tqdm

    # Without smoothing the time left is that of the mean speed so far: cells are few and unequal.
    form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"
    return tqdm(total=total, initial=done, smoothing=0, bar_format=form, dynamic_ncols=True)


def _run(cell: Cell, work: Work, folder: Path) -> dict[str, Any]:
    """Run one cell; its record, once it is on the disk."""
    own = folder / cell.key
    own.mkdir(exist_ok=True)
    elapsed = own / ELAPSED
    earlier = float(json.loads(elapsed.read_text())) if elapsed.is_file() else 0.0
    start = time.perf_counter()
    place = Work(
        work.settings,
        work.device,
        work.precision,
        work.data_dir,
        own,
        work.progress,
        work.quick,
        work.dataset,
    )
    try:
        result = dict(cell.run(place))
    except BaseException:
        replace_json(elapsed, earlier + time.perf_counter() - start)
        raise
    arrays = {name: value for name, value in result.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in result.items() if name not in arrays}
    if arrays:
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
        replace(folder / f"{cell.key}.npz", content.getvalue())
    seconds = earlier + time.perf_counter() - start
    record = {
        "key": cell.key,
        "title": cell.title,
        "arrays": sorted(arrays),
        "seconds": seconds,
        "isa": _core.isa(),
        "threads": _core.num_threads(),
        "result": rest,
    }
    # Last, because its presence says that the cell is over.
    replace_json(folder / f"{cell.key}.json", record)
    shutil.rmtree(own, ignore_errors=True)
    return _record(folder, cell)


def _record(folder: Path, cell: Cell) -> dict[str, Any]:
    """What `_run` has written, arrays included: a report sees the same whether a cell ran now or before."""
    advice = f"delete {cell.key}.json there, and --resume runs the cell again"
    record = _read(folder / f"{cell.key}.json", {"key", "title", "arrays", "seconds", "result"}, advice)
    record["result"].setdefault("seconds", record["seconds"])
    if record["arrays"]:
        path = folder / f"{cell.key}.npz"
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                record["result"].update({name: file[name] for name in record["arrays"]})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is missing or damaged; {advice}") from error
    return record


def _read(path: Path, keys: set[str], advice: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = keys - content.keys()
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}); {advice}") from error
    if missing:
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}; {advice}")
    return content


def _draw(report: Report, folder: Path) -> tuple[dict[str, Callable[[], Figure]], list[str]]:
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


def _write(
    experiment: Experiment,
    report: Report,
    settings: Mapping[str, Any],
    records: Mapping[str, dict[str, Any]],
    folder: Path,
) -> dict[str, Any]:
    """Page and numbers; the numbers."""
    seconds = {key: record["seconds"] for key, record in records.items()}
    content = {
        "experiment": experiment.name,
        "title": experiment.title,
        "reference": experiment.reference,
        **as_json(report),
        "seconds": sum(seconds.values()),
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
        "time": f"{content['seconds']:.1f} s",
    }
    replace(folder / PAGE, as_markdown(experiment, report, facts, settings["settings"]).encode())
    replace_json(folder / REPORT, content)
    loaded: dict[str, Any] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    return loaded
