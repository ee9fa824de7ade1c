"""Numbers as users give them, NumPy's among them, as Python's own; one line where something else comes."""

from __future__ import annotations

import operator
from numbers import Real
from typing import Any

import numpy as np

from ._core import Array


def as_count(value: Any, what: str, least: int = 0) -> int:
    """A whole number from ``least``; the engine knows the largest."""
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{what} is {value!r}; wanted a whole number") from None
    if not least <= count < 2**63:
        raise ValueError(f"{what} is {count}; wanted {least} or more, below 2^63")
    return count


def as_rows(value: Any, what: str, samples: int) -> int:
    """Samples of a minibatch; None: 100 of them, or as many as there are."""
    if value is None:
        return min(100, samples)
    rows = as_count(value, what)
    if not 1 <= rows <= samples:
        raise ValueError(f"{what} is {rows}; wanted 1 to {samples}, the number of samples")
    return rows


def as_number(value: Any, what: str) -> float:
    """A real number, or an array of one without dimensions; its bounds are checked by whoever knows them."""
    if type(value) is float:  # a microsecond less than asking what else is a number
        return value
    number = as_scalar(value)
    if not isinstance(number, Real):
        raise TypeError(f"{what} is {value!r}; wanted a number")
    return float(number)


def as_scalar(value: Any) -> Any:
    """Python's own number of an array without dimensions or of NumPy's numbers, everything else as it is."""
    if isinstance(value, np.generic) or (isinstance(value, (np.ndarray, Array)) and value.ndim == 0):
        return value.item()
    return value


def as_flag(value: Any, what: str) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{what} is {value!r}; wanted True or False")
    return bool(value)


def as_name(value: Any, what: str) -> str:
    """A text; the engine knows the choices."""
    if not isinstance(value, str):
        raise TypeError(f"{what} is {value!r}; wanted a name")
    return value
