"""Learning rate schedules: functions of the epoch (with its fraction) that multiply the learning rate.

Any function of a float that gives a finite number, at least 0, will do. ``schedule(2.5)`` is asked in the middle of the
third epoch; ``schedule(0.0)`` once more, before anything changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from typing import Any

from .._numbers import as_number, as_scalar

Schedule = Callable[[float], float]


def _check(good: bool, message: str) -> None:
    if not good:
        raise ValueError(message)


def _check_numbers(schedule: object, *names: str) -> None:
    for name in names:
        as_number(getattr(schedule, name), f"{type(schedule).__name__}: {name}")


@dataclass(frozen=True)
class Constant:
    """1 for ever."""

    def __call__(self, epoch: float) -> float:
        return 1.0


@dataclass(frozen=True)
class Step:
    """factor^k, k = whole spans of ``every`` epochs that are over.

    Examples
    --------
    >>> [Step(every=2, factor=0.1)(epoch) for epoch in (0.0, 1.9, 2.0)]
    [1.0, 1.0, 0.1]
    """

    every: float
    factor: float

    def __post_init__(self) -> None:
        _check_numbers(self, "every", "factor")
        _check(self.every > 0, f"Step: every is {self.every}; wanted more than 0 epochs")
        _check(self.factor > 0, f"Step: factor is {self.factor}; wanted more than 0")

    def __call__(self, epoch: float) -> float:
        return float(self.factor ** math.floor(epoch / self.every))


@dataclass(frozen=True)
class Exponential:
    """factor^epoch, step by step; `Step` with every=1 does the same once an epoch."""

    factor: float

    def __post_init__(self) -> None:
        _check_numbers(self, "factor")
        _check(self.factor > 0, f"Exponential: factor is {self.factor}; wanted more than 0")

    def __call__(self, epoch: float) -> float:
        return float(self.factor**epoch)


@dataclass(frozen=True)
class Cosine:
    """end + (1 - end) (1 + cos(pi epoch / epochs)) / 2, then end (Loshchilov & Hutter, "SGDR", ICLR 2017)."""

    epochs: float
    end: float = 0.0

    def __post_init__(self) -> None:
        _check_numbers(self, "epochs", "end")
        _check(self.epochs > 0, f"Cosine: epochs is {self.epochs}; wanted more than 0")
        _check(self.end >= 0, f"Cosine: end is {self.end}; wanted 0 or more")

    def __call__(self, epoch: float) -> float:
        part = min(epoch / self.epochs, 1.0)
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * part)) / 2


@dataclass(frozen=True)
class Warmup:
    """A straight line from ``start`` to 1 in ``epochs`` epochs; then the schedule ``then`` from its 0.

    Ref: Goyal et al., "Accurate, large minibatch SGD", 2017.

    Examples
    --------
    >>> schedule = Warmup(2, then=Step(1, 0.5), start=0.0)
    >>> [schedule(epoch) for epoch in (0.0, 1.0, 2.0, 3.0)]
    [0.0, 0.5, 1.0, 0.5]
    """

    epochs: float
    then: Schedule = field(default_factory=Constant)
    start: float = 0.01

    def __post_init__(self) -> None:
        _check_numbers(self, "epochs", "start")
        _check(self.epochs > 0, f"Warmup: epochs is {self.epochs}; wanted more than 0")
        _check(0 <= self.start <= 1, f"Warmup: start is {self.start}; wanted 0 to 1")
        check(self.then, "Warmup: then")

    def __call__(self, epoch: float) -> float:
        if epoch >= self.epochs:
            return self.then(epoch - self.epochs)
        return self.start + (1 - self.start) * epoch / self.epochs


def check(schedule: object, what: str) -> None:
    """TypeError if ``schedule`` is no function of the epoch."""
    if not callable(schedule) or isinstance(schedule, type):
        shown = f"the class {schedule.__name__}" if isinstance(schedule, type) else repr(schedule)
        raise TypeError(f"{what} is {shown}; wanted a function of the epoch, such as nn.Cosine(10)")


def factor(schedule: Schedule, epoch: float) -> float:
    """schedule(epoch); TypeError or ValueError if that is no factor."""
    value: Any = schedule(epoch)
    if type(value) is float and 0 <= value < math.inf:  # as most come
        return value
    try:
        number = as_number(value, "")
    except TypeError:
        raise TypeError(
            f"fit: schedule({epoch:g}) gave {value!r}; wanted a finite number, at least 0"
        ) from None
    if not 0 <= number < math.inf:
        raise ValueError(f"fit: schedule({epoch:g}) gave {value}; wanted a finite number, at least 0")
    return number


def describe(schedule: Schedule | None) -> str:
    """A text that is equal for equal schedules; a plain function is known by its name."""
    if schedule is None:
        return repr(Constant())
    return _describe(schedule)


def _describe(value: Any) -> str:
    value = as_scalar(value)
    if is_dataclass(value) and not isinstance(value, type):
        parts = [f"{field.name}={_describe(getattr(value, field.name))}" for field in fields(value)]
        return f"{type(value).__qualname__}({', '.join(parts)})"
    if isinstance(value, partial):
        parts = [*map(_describe, value.args), *(f"{k}={_describe(v)}" for k, v in value.keywords.items())]
        return f"partial({', '.join([_describe(value.func), *parts])})"
    if not callable(value):
        return repr(value)
    return f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"
