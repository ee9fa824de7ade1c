"""From what users give (NumPy, Array, lists) to what the engine takes, which checks shapes and values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._core import Array
from .._given import as_numbers

FEATURE_DTYPES = frozenset(map(np.dtype, ("uint8", "float32", "float64")))
TARGET_DTYPES = frozenset(map(np.dtype, ("float32", "float64")))
LABELS = np.dtype(np.int64)

# What y means to a net. Labels: one class a sample; multi-label: every output is a yes or no of its own.
CLASSIFICATION, MULTI_LABEL, REGRESSION = "classification", "multi_label", "regression"
TASKS = (CLASSIFICATION, MULTI_LABEL, REGRESSION)


INNER = ("forward", "evaluate", "predict_proba")  # calls that others are made of


def renamed(error: TypeError | ValueError, where: str) -> TypeError | ValueError:
    """The same error, but of the call ``where`` if it names one that this is made of."""
    name, found, rest = str(error).partition(": ")
    return type(error)(f"{where}: {rest}") if found and name in INNER else error


@contextmanager
def saying(where: str) -> Iterator[None]:
    """Errors within are `renamed`. Where a microsecond counts, the two lines stand in its place."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise renamed(error, where) from None


def as_features(x: Any, dtype: str, where: str) -> Any:
    """x as an array; uint8, float32 and float64 stay, other numbers become ``dtype``.

    An Array on another device than the CPU stays one, everything else becomes a NumPy array.
    """
    if type(x) is np.ndarray and x.dtype in FEATURE_DTYPES and x.ndim:  # as most come: half the time
        return x
    array = _with_axes(x, "x", where)
    return array if array.dtype in FEATURE_DTYPES else array.astype(dtype)


def as_targets(y: Any, loss: str, dtype: str, where: str, real: bool = False) -> tuple[Any, str]:
    """Labels int64 [N] or floating point targets [N,O], and what they mean.

    Whole numbers [N] are labels, unless they are known to be ``real`` ones; everything else is targets.
    """
    if type(y) is np.ndarray and y.dtype == LABELS and y.ndim == 1 and not real:
        return y, CLASSIFICATION
    array = _with_axes(y, "y", where)
    if array.dtype.kind in "biu" and array.ndim == 1 and not real:
        return array.astype(np.int64, copy=False), CLASSIFICATION
    array = array if array.dtype in TARGET_DTYPES else array.astype(dtype)
    if loss == "squared_error":
        return array, REGRESSION
    return array, CLASSIFICATION if loss == "softmax_cross_entropy" else MULTI_LABEL


def own_labels(y: Any) -> Any:
    """A copy of labels: a training looks at them once, then takes them for indices, whatever becomes of the user's."""
    return y.copy() if y.dtype == LABELS else y


def check_targets(y: Any, loss: str, where: str) -> None:
    """Raise ValueError where targets of a cross-entropy leave 0 to 1: it would have no lower bound."""
    if loss == "squared_error" or y.dtype.kind != "f" or y.size == 0:
        return
    low, high = float(y.min()), float(y.max())
    if low < 0 or high > 1:
        raise ValueError(f"{where}: y goes from {low:g} to {high:g}; {loss} wants targets from 0 to 1")


def as_weights(weights: Any, dtype: str, where: str) -> Any:
    """Sample weights as an array, or None."""
    if weights is None:
        return None
    array = _with_axes(weights, "sample_weight", where)
    return array if array.dtype in TARGET_DTYPES else array.astype(dtype)


def _with_axes(values: Any, name: str, where: str) -> Any:
    elsewhere = isinstance(values, Array) and values.device != "cpu"
    array: Any = values if elsewhere else as_numbers(values, f"{where}: {name}")
    if array.ndim == 0:
        raise ValueError(f"{where}: {name} is a single number; wanted an array")
    # Files may be big-endian; the engine reads native numbers.
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
