"""What users give as an array (lists, data frames, masked arrays) as NumPy's; one line where something else comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def as_array(values: Any, what: str) -> npt.NDArray[Any]:
    """``values`` as an array, whose dtype is looked at by whoever knows which are wanted.

    A frame with columns of numbers and of truth values is one of float64, for NumPy would make objects of it.

    Raises
    ------
    TypeError
        A column of a frame holds something else: the message names it.
    ValueError
        Lists of different lengths, or a masked array that masks something: its mask would be lost.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        count = int(np.count_nonzero(np.ma.getmaskarray(values)))
        masked = f"{count} value{'' if count == 1 else 's'}"
        raise ValueError(f"{what} is a masked array that masks {masked}; wanted them filled or left out")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{what} is no array ({' '.join(str(error).split())})") from error
    if array.dtype == object and hasattr(values, "iloc") and array.ndim == 2:
        return _of_frame(values, what)
    return array


def as_numbers(values: Any, what: str) -> npt.NDArray[Any]:
    """`as_array`, and TypeError where that is no array of numbers or truth values."""
    array = as_array(values, what)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{what} is {array.dtype}; wanted numbers")
    return array


def _of_frame(frame: Any, what: str) -> npt.NDArray[Any]:
    numbers = np.empty(frame.shape)
    for index, name in enumerate(frame.columns):
        column = frame.iloc[:, index]
        if getattr(column.dtype, "kind", "O") not in "biuf":
            raise TypeError(f"{what} has column {name!r} of {column.dtype}; wanted numbers")
        numbers[:, index] = column.to_numpy("float64", na_value=np.nan)
    return numbers
