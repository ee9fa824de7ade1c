"""Array's Python half: operators, methods and protocols that go through NumPy, as tables of names.

When an operator or method gets a kernel, its name moves from a table here to the bindings.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from deltarule import _core, _functions
from deltarule._core import Array
from deltarule._creation import asarray
from deltarule._functions import FUNCTIONS
from deltarule._through import call, call_ufunc, host, operate, unwrap, wrap

COMPARISONS = ("lt", "le", "eq", "ne", "gt", "ge")
UNARY_OPERATORS = ("pos", "invert")
BINARY_OPERATORS = (
    "floordiv",
    "mod",
    "pow",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
)  # also reflected and in place
CONVERSIONS: dict[str, Callable[..., Any]] = {
    "bool": bool,
    "float": float,
    "int": int,
    "complex": complex,
    "index": operator.index,
    "contains": operator.contains,
    "format": format,
    "str": str,
}
KERNEL_METHODS = ("sum", "prod", "mean", "max", "min", "argmax", "argmin")
METHODS = (
    *(
        "all",
        "any",
        "argpartition",
        "argsort",
        "choose",
        "clip",
        "compress",
        "conj",
        "conjugate",
        "cumprod",
        "cumsum",
    ),
    *(
        "diagonal",
        "dot",
        "fill",
        "nonzero",
        "partition",
        "put",
        "repeat",
        "round",
        "searchsorted",
        "sort",
    ),
    *("std", "take", "trace", "var"),
)
HOST_METHODS = ("item", "tobytes", "tofile", "tolist")  # what leaves the device by its meaning


def _define(name: str, function: Callable[..., Any]) -> None:
    function.__name__ = name
    function.__qualname__ = f"Array.{name}"
    setattr(Array, name, function)


def _binary(name: str) -> None:
    _define(f"__{name}__", lambda self, other: operate(name, self, other))


def _reflected(name: str) -> None:
    _define(f"__r{name}__", lambda self, other: operate(name, other, self))


def _in_place(name: str) -> None:
    def method(self: Array, other: Any) -> Array:
        operate(f"i{name}", self, other)
        return self

    _define(f"__i{name}__", method)


def _unary(name: str) -> None:
    _define(f"__{name}__", lambda self: operate(name, self))


def _conversion(name: str, function: Callable[..., Any]) -> None:
    _define(f"__{name}__", lambda self, *args: function(host(self), *map(unwrap, args)))


def _method(name: str) -> None:
    numpy_method = getattr(np.ndarray, name)

    def method(self: Array, *args: Any, **options: Any) -> Any:
        return call(numpy_method, (self, *args), options)

    method.__doc__ = f"numpy.ndarray.{name}, giving Arrays."
    _define(name, method)


def _kernel_method(name: str) -> None:
    function = getattr(_functions, name)
    signature = function.__text_signature__.replace("(x", "($self, /", 1)
    setattr(Array, name, _core.direct_method(name, f"{name}{signature}\n--\n\n{function.__doc__}"))


def _host_method(name: str) -> None:
    numpy_method = getattr(np.ndarray, name)

    def method(self: Array, *args: Any, **options: Any) -> Any:
        return numpy_method(host(self), *args, **options)

    method.__doc__ = f"numpy.ndarray.{name}; from another device than the CPU the elements are copied."
    _define(name, method)


for _name in (*COMPARISONS, *BINARY_OPERATORS):
    _binary(_name)
for _name in BINARY_OPERATORS:
    _reflected(_name)
    _in_place(_name)
for _name in UNARY_OPERATORS:
    _unary(_name)
for _name, _function in CONVERSIONS.items():
    _conversion(_name, _function)
for _name in METHODS:
    _method(_name)
for _name in HOST_METHODS:
    _host_method(_name)
for _name in KERNEL_METHODS:
    _kernel_method(_name)


class _Printed(np.ndarray[Any, Any]):
    """Prints as NumPy's arrays do, but named as its class."""


_Printed.__name__ = "Array"


def _repr(self: Array) -> str:
    return np.array_repr(host(self).view(_Printed))


def _iter(self: Array) -> Iterator[Array]:
    if self.ndim == 0:
        raise TypeError("iteration over a 0-d Array")
    return (self[index] for index in range(len(self)))


def _divmod(self: Array, other: Any) -> Any:
    return wrap(divmod(self.numpy(), unwrap(other)))


def _reflected_divmod(self: Array, other: Any) -> Any:
    return wrap(divmod(unwrap(other), self.numpy()))


def _round(self: Array, digits: int | None = None) -> Any:
    return round(self.item(), digits)


def _to_numpy(self: Array, dtype: Any = None, copy: bool | None = None) -> Any:
    return np.array(self.numpy(), dtype=dtype, copy=copy)


def _interface(self: Array) -> dict[str, Any]:
    return self.numpy().__array_interface__


def _overrides(value: Any) -> bool:
    """Whether value has rules of its own for NumPy's functions; Array then leaves the operation to it."""
    known = (Array.__array_ufunc__, np.ndarray.__array_ufunc__)
    return getattr(type(value), "__array_ufunc__", known[0]) not in known


def _array_ufunc(self: Array, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    outputs = options.get("out", ())
    if any(_overrides(value) for value in (*inputs, *outputs)):
        return NotImplemented
    if method == "__call__" and not options and ufunc in FUNCTIONS:
        return FUNCTIONS[ufunc](*inputs)
    result = wrap(call_ufunc(ufunc, method, tuple(map(unwrap, inputs)), unwrap(options)))
    if not outputs:
        return result
    results = result if isinstance(result, tuple) else (result,)
    given = tuple(new if out is None else out for new, out in zip(results, outputs, strict=True))
    return given if isinstance(result, tuple) else given[0]


def _array_function(
    self: Array, function: Callable[..., Any], types: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    if not all(issubclass(kind, (Array, np.ndarray)) for kind in types):
        return NotImplemented
    return FUNCTIONS[function](*args, **options) if function in FUNCTIONS else call(function, args, options)


_define("__repr__", _repr)
_define("__iter__", _iter)
_define("__divmod__", _divmod)
_define("__rdivmod__", _reflected_divmod)
_define("__round__", _round)
_define("__array__", _to_numpy)
_define("__array_ufunc__", _array_ufunc)
_define("__array_function__", _array_function)
_define("__copy__", lambda self: self.copy())
_define("__deepcopy__", lambda self, memo: self.copy())
_define("__reduce__", lambda self: (asarray, (host(self),)))
_attributes: dict[str, Any] = {
    "__array_interface__": property(_interface),
    "real": property(lambda self: self, doc="The Array itself: it has no imaginary part."),
    "flat": property(
        lambda self: self.numpy().flat, doc="NumPy's iterator over the elements, on the same memory."
    ),
    "__hash__": None,  # unhashable, as every mutable array
    "__module__": "deltarule",
}
for _name, _value in _attributes.items():
    setattr(Array, _name, _value)
