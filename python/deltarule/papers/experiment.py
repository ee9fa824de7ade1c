"""What an experiment is: settings, cells of work, and the report made of their results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .work import Work

Result = Mapping[str, Any]
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One independent piece of work, saved when it is over and never done again on resume.

    Attributes
    ----------
    key : str
        Letters, digits, ``.``, ``_`` and ``-``; unique, for it is the name of a file: ``"dbn-seed0"``.
    title : str
        What is shown while it runs: ``"DBN, seed 0"``.
    run : function of Work
        A module's, or a ``functools.partial`` of one, so that another process can be sent it. Returns its result by
        names: what JSON holds (NaN becomes None, tuples lists) and, at the top level, NumPy arrays, which are kept
        in an ``.npz``. A report gets what was read back from these files, with ``seconds`` (the time of the cell,
        interrupted parts included) added.
    seconds : float
        Rough time, relative to the other cells: for the time left, and for what starts first side by side.
    """

    key: str
    title: str
    run: Callable[[Work], Result]
    seconds: float = 1.0


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers; None and NaN are shown as ``-``, numbers with four digits."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """What the paper says, or an experiment of its own; whether ours agrees, and the numbers that rests on."""

    text: str
    holds: bool
    figure: str


@dataclass(frozen=True)
class Report:
    """What an experiment has to show; ``figures`` are drawn when they are written, to NAME.png."""

    tables: Sequence[Table]
    claims: Sequence[Claim]
    figures: Mapping[str, Callable[[], Figure]] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Experiment:
    """A result to be redone.

    Attributes
    ----------
    name, title, reference : str
        ``"glorot2010"``, what it is about, and where it was published.
    settings : function of quick
        All that the outcome depends on, besides seeds, device, precision and data; JSON holds it. To what a cell's work
        and the report get, the run adds ``data``, the name of the data set, and ``images``, how many it trains on.
    cells : function of (settings, seeds)
        ValueError for settings that cannot be run: it is called before data are looked for.
    report : function of (settings, results by key)
    needs_images : bool
        Whether the cells call `Work.images`: then the data are looked for before anything starts.
    """

    name: str
    title: str
    reference: str
    settings: Callable[[bool], dict[str, Any]]
    cells: Callable[[Settings, Sequence[int]], Sequence[Cell]]
    report: Callable[[Settings, Mapping[str, Result]], Report]
    needs_images: bool = True


def mean(values: Iterable[float]) -> float:
    """Mean, summed exactly."""
    numbers = [float(value) for value in values]
    return math.fsum(numbers) / len(numbers)


def spread(values: Iterable[float]) -> float | None:
    """Standard deviation over the seeds, with n - 1; None for fewer than two values.

    >>> spread([1.0, 3.0, 2.0]), spread([1.0])
    (1.0, None)
    """
    numbers = [float(value) for value in values]
    if len(numbers) < 2:
        return None
    centre = mean(numbers)
    return math.sqrt(math.fsum((number - centre) ** 2 for number in numbers) / (len(numbers) - 1))
