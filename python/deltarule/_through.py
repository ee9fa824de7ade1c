"""NumPy on an Array's memory: what has no kernel yet takes this way, there and back without a copy."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from deltarule import _core
from deltarule._core import Array

# Results NumPy gives in a dtype Array does not have (the sum of uint8 is uint64, its sine float16) become
# the next wider one it has; 64 unsigned bits become int64. Any other dtype is a TypeError.
_WIDENED = {
    np.dtype(narrow): np.dtype(wide)
    for narrow, wide in {
        "float16": "float32",
        "int8": "int32",
        "int16": "int32",
        "uint16": "int32",
        "uint32": "int64",
        "uint64": "int64",
    }.items()
}


def unwrap(value: Any) -> Any:
    """The same with every Array, also inside tuples, lists and dicts, as a NumPy array on its memory."""
    kind = type(value)
    if kind is Array:
        return value.numpy()
    if kind is tuple or kind is list:
        return kind(map(unwrap, value))
    if kind is dict:
        return {key: unwrap(entry) for key, entry in value.items()}
    return value


def host(value: Any) -> Any:
    """As a NumPy array: on the same memory where it is the CPU's, else a copy."""
    return value.to("cpu").numpy() if type(value) is Array else np.asarray(value)


def wrap(result: Any) -> Any:
    """The same with every NumPy array or scalar as an Array on its memory."""
    if isinstance(result, (np.ndarray, np.generic)):
        array = np.asarray(result)
        if array.dtype in _WIDENED:
            array = array.astype(_WIDENED[array.dtype])
        return _core.from_numpy(array)
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return type(result)(*map(wrap, result))
    if type(result) in (tuple, list):
        return type(result)(map(wrap, result))
    return result


def call(function: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """``function(*args, **options)`` of NumPy, with Arrays; returns ``out`` itself where it is given."""
    result = function(*map(unwrap, args), **{name: unwrap(value) for name, value in options.items()})
    out = options.get("out")
    return wrap(result) if out is None else out


def operate(name: str, *operands: Any) -> Any:
    """Python's operator ``__name__`` between NumPy's views of the operands."""
    return wrap(getattr(operator, f"__{name}__")(*map(unwrap, operands)))


_core.set_numpy_fallback(operate)
