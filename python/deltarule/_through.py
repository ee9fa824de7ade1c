"""NumPy on an Array's memory: what has no kernel yet takes this way, there and back without a copy."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from deltarule import _core
from deltarule._core import Array

# Results NumPy gives in a dtype Array does not have (the sum of uint8 is uint64) become the next wider one it
# has; 64 unsigned bits become int64. Any other dtype is a TypeError.
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

# Of one byte NumPy takes the sine, the logarithm and so on in float16, which ends at 65504 and has three digits:
# such operands are computed in float32 from the start.
_ONE_BYTE = tuple(map(np.dtype, ("bool", "int8", "uint8")))
_HALF, _SINGLE = np.dtype("float16"), np.dtype("float32")


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


def _loop(ufunc: np.ufunc, kinds: list[Any]) -> tuple[Any, ...]:
    """The dtypes NumPy computes in for operands of these; empty where it has none."""
    try:
        return ufunc.resolve_dtypes((*kinds, *[None] * ufunc.nout))
    except TypeError:
        return ()


@functools.cache
def _has_half(ufunc: np.ufunc) -> bool:
    """Whether NumPy computes it in float16 for operands of one byte."""
    return any(_HALF in _loop(ufunc, [kind] * ufunc.nin) for kind in _ONE_BYTE)


def _has_byte(operands: tuple[Any, ...]) -> bool:
    for operand in operands:  # no generator: this is on the way of every call
        kind = type(operand)
        if kind is float or kind is int:
            continue
        if (operand if kind is np.ndarray else np.asarray(operand)).itemsize == 1:
            return True
    return False


def _kind(operand: Any) -> Any:
    return type(operand) if type(operand) in (int, float, complex) else np.asarray(operand).dtype


def _single(ufunc: np.ufunc, method: str, operands: tuple[Any, ...]) -> dict[str, Any]:
    """The option that has NumPy compute in float32 where it would in float16 for want of a wider operand."""
    kinds = [_kind(operand) for operand in (operands if method in ("__call__", "outer") else operands[:1])]
    if not any(kind in _ONE_BYTE for kind in kinds) or _HALF in kinds:
        return {}
    if method in ("__call__", "outer"):
        loop = _loop(ufunc, kinds)
        return {"signature": tuple(_SINGLE if kind == _HALF else kind for kind in loop)} if loop else {}
    return {} if method == "at" else {"dtype": _SINGLE}


def call_ufunc(ufunc: np.ufunc, method: str, operands: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """``ufunc.method(*operands, **options)``, of NumPy arrays."""
    if _has_byte(operands) and _has_half(ufunc) and not options.keys() & {"dtype", "sig", "signature"}:
        options = {**options, **_single(ufunc, method, operands)}
    return getattr(ufunc, method)(*operands, **options)


def _again_in_float32(function: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """A function of NumPy's that made float16 of one byte inside, from float32 this time."""

    def single(value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype in _ONE_BYTE:
            return value.astype(_SINGLE)
        return value

    return function(*map(single, args), **{name: single(value) for name, value in options.items()})


def call(function: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """``function(*args, **options)`` of NumPy, with Arrays; returns ``out`` itself where it is given."""
    given, named = tuple(map(unwrap, args)), {name: unwrap(value) for name, value in options.items()}
    if type(function) is np.ufunc and _has_byte(given):
        result = call_ufunc(function, "__call__", given, named)
    else:
        result = function(*given, **named)
        if getattr(result, "dtype", None) == _HALF and "dtype" not in options:
            result = _again_in_float32(function, given, named)
    out = options.get("out")
    return wrap(result) if out is None else out


def operate(name: str, *operands: Any) -> Any:
    """Python's operator ``__name__`` between NumPy's views of the operands."""
    return wrap(getattr(operator, f"__{name}__")(*map(unwrap, operands)))


_core.set_numpy_fallback(operate)
