"""All cells of a run: here one after the other, or side by side in processes (`pool.py`)."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import _core
from .._atomic import replace_json
from .._numbers import as_count
from .._progress import wanted
from . import pool, records
from .experiment import Cell
from .work import Work

Records = dict[str, dict[str, Any]]


def as_jobs(jobs: int | None, device: str) -> int | None:
    """``jobs`` as a number of Python's; TypeError or ValueError unless so many cells may run on ``device``."""
    if jobs is None:
        return None
    number = as_count(jobs, "reproduce: jobs", least=1)
    if number > 1 and device != "cpu":
        raise ValueError(
            f"reproduce: jobs is {number} on {device}; wanted 1: cells would wait for the same GPU"
        )
    return number


def count_jobs(jobs: int | None, device: str, cells: int) -> int:
    """How many of so many cells run side by side: on the CPU, unless ``jobs`` says so, one a thread."""
    number = jobs or (_core.num_threads() if device == "cpu" else 1)
    return max(1, min(number, cells))


def run_all(
    cells: Sequence[Cell], work: Work, folder: Path, jobs: int | None, say: Callable[[str], None]
) -> Records:
    """The records of all cells by key; those in ``folder`` are read, the others run."""
    found = {cell.key: records.read(cell, folder) for cell in cells if records.is_over(cell, folder)}
    waiting = [cell for cell in cells if cell.key not in found]
    if waiting:
        number = count_jobs(jobs, work.device, len(waiting))
        with Clock(work.folder, found) as clock, Ticker(cells, found, work.progress, say) as ticker:

            def over(cell: Cell) -> None:
                found[cell.key] = records.read(cell, folder)
                clock.save()
                ticker.over(cell, found[cell.key]["seconds"])

            if number > 1:
                pool.run(waiting, work, folder, number, ticker.running, over)
            else:
                for cell in waiting:
                    ticker.running([cell])
                    records.run(cell, work, folder, number)
                    over(cell)
    for cell in cells:
        shutil.rmtree(folder / cell.key, ignore_errors=True)  # of one that was killed after its last file
    return {cell.key: found[cell.key] for cell in cells}


class Clock:
    """The time that a run takes, its earlier parts included, kept in its folder."""

    def __init__(self, folder: Path, found: Records) -> None:
        self._path = folder / records.ELAPSED
        before = records.elapsed(folder)
        if before is None:  # a run that kept none had one cell after the other
            before = sum(record["seconds"] for record in found.values())
        self._start = time.perf_counter() - before

    def __enter__(self) -> Clock:
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):  # of a full disk the cells tell
            self.save()

    def save(self) -> None:
        """Write the time until now."""
        replace_json(self._path, time.perf_counter() - self._start)


class Ticker:
    """Tells how far a run is: a bar over the expected time of its cells, or a line for each that is over."""

    def __init__(
        self, cells: Sequence[Cell], found: Records, progress: bool | str, say: Callable[[str], None]
    ) -> None:
        self._cells, self._found, self._say = len(cells), found, say
        self._bar: Any = None
        self._text, self._drawn = "", 0.0
        if wanted(progress, "reproduce"):
            from tqdm import tqdm

            # Without smoothing the time left is that of the mean speed so far: cells are few and unequal.
            form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"
            total, done = sum(cell.seconds for cell in cells), sum(c.seconds for c in cells if c.key in found)
            self._bar = tqdm(total=total, initial=done, smoothing=0, bar_format=form, dynamic_ncols=True)

    def __enter__(self) -> Ticker:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def running(self, cells: Sequence[Cell]) -> None:
        """These run now."""
        if self._bar is not None:
            first = len(self._found) + 1
            last = f"-{first + len(cells) - 1}" if len(cells) > 1 else ""
            titles = [cell.title for cell in cells[:2]] + ["..."] * (len(cells) > 2)
            text = f"{first}{last}/{self._cells} {'; '.join(titles)}"
            # Where nothing else moves, the time does.
            if text != self._text or (sys.stderr.isatty() and time.monotonic() > self._drawn + 1):
                self._bar.set_description(text)
                self._text, self._drawn = text, time.monotonic()

    def over(self, cell: Cell, seconds: float) -> None:
        """This one is over, and its record with the others."""
        if self._bar is not None:
            self._bar.update(cell.seconds)
        else:
            self._say(f"{len(self._found)}/{self._cells} {cell.title}: {seconds:.1f} s")
