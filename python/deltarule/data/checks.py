"""What features and labels must look like, and the one line that says where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .._given import as_array

Array = npt.NDArray[Any]

FEATURE_DTYPES = ("uint8", "float32", "float64")


def check_shapes(x: Array, y: Array, name: str = "check_samples") -> None:
    """Check dtypes, dimension counts and lengths of x[n,d] and y[n] or y[n,k]; reads no values.

    Raises
    ------
    TypeError
        If x is not uint8, float32 or float64, or y neither integer nor floating point.
    ValueError
        If a dimension count is wrong or the lengths differ.
    """
    if x.dtype.name not in FEATURE_DTYPES:
        raise TypeError(f"{name}: x is {x.dtype.name}; wanted {', '.join(FEATURE_DTYPES)}")
    if x.ndim != 2:
        raise ValueError(f"{name}: x has shape {x.shape}; wanted [samples, features]")
    if x.shape[1] == 0:
        raise ValueError(f"{name}: x has shape {x.shape}; wanted at least one feature")
    if y.dtype.kind in "iu":
        if y.ndim != 1:
            raise ValueError(f"{name}: integer y has shape {y.shape}; wanted class labels [samples]")
    elif y.dtype.kind == "f":
        if y.ndim != 2 or y.shape[1] == 0:
            raise ValueError(
                f"{name}: floating point y has shape {y.shape}; wanted targets [samples, outputs]"
            )
    else:
        raise TypeError(f"{name}: y is {y.dtype.name}; wanted integer labels or floating point targets")
    if len(x) != len(y):
        raise ValueError(f"{name}: x has {len(x)} samples, y has {len(y)}; the lengths must be equal")


def check_finite(values: Array, what: str) -> None:
    """Raise ValueError naming the first NaN or infinity of values[n,d]; integers pass unread."""
    if values.dtype.kind != "f":
        return
    wrong = ~np.isfinite(values)
    count = int(np.count_nonzero(wrong))
    if count:
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"{what} holds {values[row, column]} at row {row}, column {column} "
            f"({count} of {values.size} values are NaN or infinite); wanted finite numbers"
        )


def check_samples(
    x: npt.ArrayLike, y: npt.ArrayLike, classes: Sequence[str] | None = None, name: str = "check_samples"
) -> None:
    """Check one set of samples whole: shapes, dtypes, finite values, labels inside the classes.

    Parameters
    ----------
    x : array [n, d]
        Features, uint8, float32 or float64.
    y : array [n] or [n, k]
        Integer class labels from 0, or floating point targets.
    classes : sequence of str, optional
        Names of the classes; label i means ``classes[i]``. With targets [n, k], one name per output.
    name : str
        What the message begins with.

    Raises
    ------
    TypeError
        For a dtype that is not listed above.
    ValueError
        For everything else; the message is one line with the first wrong place.

    Examples
    --------
    >>> check_samples(np.zeros((2, 3)), np.array([0, 5]), classes=("cat", "dog"))
    Traceback (most recent call last):
    ...
    ValueError: check_samples: y holds label 5 at row 1; wanted 0 to 1 (2 classes)
    """
    x, y = as_array(x, f"{name}: x"), as_array(y, f"{name}: y")
    check_shapes(x, y, name)
    if len(x) == 0:
        raise ValueError(f"{name}: x has no samples; wanted at least one")
    check_finite(x, f"{name}: x")
    if y.dtype.kind == "f":
        check_finite(y, f"{name}: y")
        if classes is not None and y.shape[1] != len(classes):
            raise ValueError(
                f"{name}: y has {y.shape[1]} columns for {len(classes)} classes; wanted one per class"
            )
        return
    wrong = y < 0
    if classes is not None:
        wrong |= y >= len(classes)
    if wrong.any():
        row = int(np.argmax(wrong))
        wanted = "0 or more" if classes is None else f"0 to {len(classes) - 1} ({len(classes)} classes)"
        raise ValueError(f"{name}: y holds label {y[row]} at row {row}; wanted {wanted}")


def as_features(x: Array, name: str) -> tuple[Array, tuple[int, int] | None]:
    """x[n, ...] -> x[n, d] in a feature dtype without loss, and (h, w) where x is [n, h, w] or [n, h, w, 1].

    uint8, float32 and float64 stay; bool becomes uint8, short numbers float32, long integers float64.
    """
    if x.ndim < 2:
        raise ValueError(
            f"{name} has shape {x.shape}; wanted [samples, features] or [samples, height, width]"
        )
    image_shape = None
    if x.ndim == 3 or (x.ndim == 4 and x.shape[3] == 1):
        image_shape = (int(x.shape[1]), int(x.shape[2]))
    x = x.reshape(len(x), int(np.prod(x.shape[1:])))
    if x.dtype.name in FEATURE_DTYPES:
        # Files may be big-endian, and kernels read native, contiguous memory.
        return np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("=")), image_shape
    if x.dtype.kind == "b":
        return x.astype(np.uint8), image_shape
    if x.dtype.kind in "iuf" and x.dtype.itemsize <= 8:
        return x.astype(np.float32 if x.dtype.itemsize <= 2 else np.float64), image_shape
    raise TypeError(f"{name} is {x.dtype}; wanted numbers ({', '.join(FEATURE_DTYPES)})")
