"""The functions of ``deltarule`` on arrays.

Those with kernels of our own leave to NumPy the operands no kernel has; the others are NumPy's on the same
memory. All take Arrays, NumPy arrays, numbers and nested lists, and give Arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from deltarule import _core
from deltarule._core import Array
from deltarule._through import call

# fmt: off
__all__ = [
    "abs", "activate", "activate_grad", "add", "all", "allclose", "any", "arccos", "arccosh", "arcsin",
    "arcsinh", "arctan", "arctan2", "arctanh", "argmax", "argmin", "argsort", "argwhere", "array_equal",
    "array_split", "atleast_1d", "atleast_2d", "average", "bincount", "bitwise_and", "bitwise_or",
    "bitwise_xor", "broadcast_arrays", "cbrt", "ceil", "clip", "concatenate", "copysign", "cos", "cosh",
    "count_nonzero", "cumprod", "cumsum", "diag", "diagonal", "diff", "divide", "divmod", "dot", "einsum",
    "equal", "erf", "exp", "exp2", "expm1", "flip", "floor", "floor_divide", "fmod", "greater",
    "greater_equal", "histogram", "hstack", "hypot", "inner", "invert", "isclose", "isfinite", "isin",
    "isinf", "isnan", "kron", "left_shift", "less", "less_equal", "log", "log1p", "log2", "log10",
    "log_softmax", "logaddexp", "logaddexp2", "logical_and", "logical_not", "logical_or", "logical_xor",
    "matmul", "max", "maximum", "mean", "median", "meshgrid", "min", "minimum", "moveaxis", "multiply",
    "nan_to_num", "nanmax", "nanmean", "nanmin", "nansum", "negative", "nextafter", "nonzero",
    "not_equal", "outer", "pad", "percentile", "positive", "power", "prod", "ptp", "put_along_axis",
    "quantile", "reciprocal", "remainder", "repeat", "result_type", "right_shift", "rint", "roll",
    "round", "searchsorted", "sigmoid", "sign", "signbit", "sin", "sinh", "softmax", "sort", "split",
    "sqrt", "square", "stack", "std", "subtract", "sum", "take", "take_along_axis", "tan", "tanh",
    "tensordot", "tile", "trace", "tril", "triu", "trunc", "unique", "var", "vdot", "vstack", "where",
]
# fmt: on

# NumPy's function -> ours, for the functions with kernels: numpy.exp(Array) runs ours too.
FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {}

_Function = Callable[..., Any]


def _named(function: _Function, name: str, arguments: str, doc: str) -> _Function:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    function.__module__ = "deltarule"
    function = _core.direct(function, arguments)
    numpy_function = getattr(np, name, None)
    if numpy_function is not None:
        FUNCTIONS[numpy_function] = function
    return function


def _no_kernel(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What NumPy makes of operands or options that no kernel takes."""
    ufunc = getattr(np, name, None)
    if ufunc is None:
        raise TypeError(f"{name}: out must have the result's dtype, and there are no further options")
    return call(ufunc, args, options)


def _unary(name: str, formula: str) -> Callable[..., Array]:
    kernel = getattr(_core, name)

    def function(x: Any, /, out: Any = None, **options: Any) -> Any:
        result = NotImplemented if options else kernel(x, out)
        if result is NotImplemented:
            return _no_kernel(name, (x,), {"out": out, **options})
        return result if out is None else out

    doc = f"{formula}, element by element; `out` (of the result's shape) is filled."
    return _named(function, name, "x, /, out=None, **options", doc)


def _binary(name: str, formula: str) -> Callable[..., Array]:
    kernel = getattr(_core, name)

    def function(a: Any, b: Any, /, out: Any = None, **options: Any) -> Any:
        result = NotImplemented if options else kernel(a, b, out)
        if result is NotImplemented:
            return _no_kernel(name, (a, b), {"out": out, **options})
        return result if out is None else out

    doc = f"{formula}, element by element; `out` (of the result's shape) is filled."
    return _named(function, name, "a, b, /, out=None, **options", doc)


def _reduction(name: str, formula: str, positional: tuple[str, ...]) -> Callable[..., Array]:
    """``name(x, axis=None, ..., keepdims=False)`` with NumPy's positional arguments."""
    kernel, numpy_function = getattr(_core, name), getattr(np, name)

    def function(x: Any, *args: Any, **options: Any) -> Any:
        options.update(zip(positional, args, strict=False))
        options = {key: value for key, value in options.items() if value is not None}
        result = NotImplemented
        if options.keys() <= {"axis", "keepdims", "out"}:
            result = kernel(x, **options)
        if result is NotImplemented:
            return call(numpy_function, (x,), options)
        return options.get("out", result)

    doc = (
        f"{formula} over `axis` (integer, tuple or None for all).\n\n"
        "With `keepdims` reduced axes stay, of extent 1; `out`, of the result's shape, is filled.\n"
        f"`options` are those of numpy.{name} otherwise."
    )
    defaults = {"keepdims": "keepdims=False"}
    arguments = ["x", *(defaults.get(entry, f"{entry}=None") for entry in positional)]
    arguments += [] if "keepdims" in positional else ["*", "keepdims=False"]
    return _named(function, name, ", ".join([*arguments, "**options"]), doc)


def _numpy_any(function: _Function) -> _Function:
    def through(*args: Any, **options: Any) -> Any:
        return call(function, args, options)

    through.__name__ = through.__qualname__ = function.__name__
    through.__doc__ = f"numpy.{function.__name__}, giving Arrays."
    through.__module__ = "deltarule"
    return through


def _numpy(function: _Function) -> Callable[..., Array]:
    """The same of what gives one Array."""
    return _numpy_any(function)


# Kernels of our own.
negative = _unary("negative", "-x")
abs = _unary("abs", "|x|")
sign = _unary("sign", "-1, 0 or 1")
square = _unary("square", "x x")
sqrt = _unary("sqrt", "The square root")
reciprocal = _unary("reciprocal", "1 / x")
exp = _unary("exp", "e^x")
expm1 = _unary("expm1", "e^x - 1")
log = _unary("log", "The natural logarithm")
log1p = _unary("log1p", "log(1 + x)")
tanh = _unary("tanh", "The hyperbolic tangent")
erf = _unary("erf", "The error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x")
sigmoid = _unary("sigmoid", "1 / (1 + e^-x)")
add = _binary("add", "a + b")
subtract = _binary("subtract", "a - b")
multiply = _binary("multiply", "a b")
divide = _binary("divide", "a / b")
maximum = _binary("maximum", "The greater of a and b; NaN where either is NaN")
minimum = _binary("minimum", "The lesser of a and b; NaN where either is NaN")
sum = _reduction("sum", "The sum", ("axis", "dtype", "out", "keepdims"))
prod = _reduction("prod", "The product", ("axis", "dtype", "out", "keepdims"))
mean = _reduction("mean", "The mean", ("axis", "dtype", "out", "keepdims"))
max = _reduction("max", "The greatest element; NaN if there is one", ("axis", "out", "keepdims"))
min = _reduction("min", "The least element; NaN if there is one", ("axis", "out", "keepdims"))
argmax = _reduction("argmax", "Index of the first greatest element", ("axis", "out"))
argmin = _reduction("argmin", "Index of the first least element", ("axis", "out"))

# NumPy's, element by element. A name moves up when its kernel lands.
power = _numpy(np.power)
floor_divide = _numpy(np.floor_divide)
remainder = _numpy(np.remainder)
fmod = _numpy(np.fmod)
divmod: Callable[..., tuple[Array, Array]] = _numpy_any(np.divmod)
logaddexp = _numpy(np.logaddexp)
logaddexp2 = _numpy(np.logaddexp2)
hypot = _numpy(np.hypot)
arctan2 = _numpy(np.arctan2)
copysign = _numpy(np.copysign)
nextafter = _numpy(np.nextafter)
positive = _numpy(np.positive)
exp2 = _numpy(np.exp2)
log2 = _numpy(np.log2)
log10 = _numpy(np.log10)
cbrt = _numpy(np.cbrt)
sin = _numpy(np.sin)
cos = _numpy(np.cos)
tan = _numpy(np.tan)
arcsin = _numpy(np.arcsin)
arccos = _numpy(np.arccos)
arctan = _numpy(np.arctan)
sinh = _numpy(np.sinh)
cosh = _numpy(np.cosh)
arcsinh = _numpy(np.arcsinh)
arccosh = _numpy(np.arccosh)
arctanh = _numpy(np.arctanh)
floor = _numpy(np.floor)
ceil = _numpy(np.ceil)
trunc = _numpy(np.trunc)
rint = _numpy(np.rint)
round = _numpy(np.round)
isnan = _numpy(np.isnan)
isinf = _numpy(np.isinf)
isfinite = _numpy(np.isfinite)
signbit = _numpy(np.signbit)
equal = _numpy(np.equal)
not_equal = _numpy(np.not_equal)
less = _numpy(np.less)
less_equal = _numpy(np.less_equal)
greater = _numpy(np.greater)
greater_equal = _numpy(np.greater_equal)
logical_and = _numpy(np.logical_and)
logical_or = _numpy(np.logical_or)
logical_xor = _numpy(np.logical_xor)
logical_not = _numpy(np.logical_not)
bitwise_and = _numpy(np.bitwise_and)
bitwise_or = _numpy(np.bitwise_or)
bitwise_xor = _numpy(np.bitwise_xor)
invert = _numpy(np.invert)
left_shift = _numpy(np.left_shift)
right_shift = _numpy(np.right_shift)
clip = _numpy(np.clip)
nan_to_num = _numpy(np.nan_to_num)
where = _numpy(np.where)
isclose = _numpy(np.isclose)

# NumPy's, along axes.
all = _numpy(np.all)
any = _numpy(np.any)
std = _numpy(np.std)
var = _numpy(np.var)
median = _numpy(np.median)
percentile = _numpy(np.percentile)
quantile = _numpy(np.quantile)
average = _numpy_any(np.average)
count_nonzero = _numpy_any(np.count_nonzero)
cumsum = _numpy(np.cumsum)
cumprod = _numpy(np.cumprod)
diff = _numpy(np.diff)
ptp = _numpy(np.ptp)
allclose: Callable[..., bool] = _numpy_any(np.allclose)
array_equal: Callable[..., bool] = _numpy_any(np.array_equal)
nansum = _numpy(np.nansum)
nanmean = _numpy(np.nanmean)
nanmax = _numpy(np.nanmax)
nanmin = _numpy(np.nanmin)
bincount = _numpy(np.bincount)
histogram: Callable[..., tuple[Array, Array]] = _numpy_any(np.histogram)

# NumPy's, of shape.
concatenate = _numpy(np.concatenate)
stack = _numpy(np.stack)
vstack = _numpy(np.vstack)
hstack = _numpy(np.hstack)
split: Callable[..., list[Array]] = _numpy_any(np.split)
array_split: Callable[..., list[Array]] = _numpy_any(np.array_split)
tile = _numpy(np.tile)
repeat = _numpy(np.repeat)
roll = _numpy(np.roll)
flip = _numpy(np.flip)
pad = _numpy(np.pad)
take = _numpy(np.take)
take_along_axis = _numpy(np.take_along_axis)
put_along_axis: Callable[..., None] = _numpy_any(np.put_along_axis)
atleast_1d = _numpy_any(np.atleast_1d)
atleast_2d = _numpy_any(np.atleast_2d)
moveaxis = _numpy(np.moveaxis)
diag = _numpy(np.diag)
diagonal = _numpy(np.diagonal)
tril = _numpy(np.tril)
triu = _numpy(np.triu)
meshgrid: Callable[..., tuple[Array, ...]] = _numpy_any(np.meshgrid)
result_type: Callable[..., np.dtype[Any]] = _numpy_any(np.result_type)
broadcast_arrays: Callable[..., tuple[Array, ...]] = _numpy_any(np.broadcast_arrays)

# NumPy's, by order and place.
sort = _numpy(np.sort)
argsort = _numpy(np.argsort)
unique = _numpy_any(np.unique)
nonzero: Callable[..., tuple[Array, ...]] = _numpy_any(np.nonzero)
argwhere = _numpy(np.argwhere)
searchsorted = _numpy(np.searchsorted)
isin = _numpy(np.isin)

# NumPy's, of linear algebra.
dot = _numpy(np.dot)
vdot = _numpy(np.vdot)
inner = _numpy(np.inner)
outer = _numpy(np.outer)
tensordot = _numpy(np.tensordot)
einsum = _numpy(np.einsum)
trace = _numpy(np.trace)
kron = _numpy(np.kron)


def matmul(a: Any, b: Any, *, precision: str = "highest", out: Any = None) -> Array:
    """The matrix product ``a @ b``.

    Parameters
    ----------
    a, b : array_like, [..., M, K] and [..., K, N]
        Leading axes are broadcast; a 1-D `a` is a row, a 1-D `b` a column, and the axis so added is dropped.
    precision : {"highest", "high", "medium"}
        How float32 products may be formed: float32-accurate; from two bfloat16 numbers for each float32, about
        16 bits; or from one, 8 bits; always summed in float32. Without a unit for it (see
        ``dr.info()["precisions"]``), for small products and for values bfloat16 cannot hold it is float32.
    out : Array or ndarray, optional
        Written to and returned; of the result's shape and dtype.

    Returns
    -------
    Array, [..., M, N]

    Raises
    ------
    ValueError
        The shapes do not fit, or there is no such precision.

    Examples
    --------
    >>> import deltarule as dr
    >>> dr.matmul([[1.0, 2.0]], [[3.0], [4.0]])
    Array([[11.]])
    """
    result: Array = _core.matmul(a, b, precision, out)
    if result is NotImplemented:
        result = call(np.matmul, (a, b), {"out": out})
    return result if out is None else out


def softmax(x: Any, axis: int = -1) -> Array:
    """``exp(x) / sum(exp(x))`` along `axis`, without overflow; x is float32 or float64 [...]."""
    return _core.softmax(x, axis)


def log_softmax(x: Any, axis: int = -1) -> Array:
    """``x - log(sum(exp(x)))`` along `axis`, without overflow; x is float32 or float64 [...]."""
    return _core.log_softmax(x, axis)


def activate(x: Any, activation: str, slope: float | None = None) -> Array:
    """f(x), element by element, of an activation by name.

    Parameters
    ----------
    x : array_like of float32 or float64, [...]
    activation : str
        "relu", "tanh", ...; a wrong name lists them all.
    slope : float, optional
        The parameter of "leaky_relu" and "elu".

    Returns
    -------
    Array, [...]

    Examples
    --------
    >>> import deltarule as dr
    >>> dr.activate([-1.0, 2.0], "relu")
    Array([0., 2.])
    """
    return _core.activate(x, activation, slope)


def activate_grad(dy: Any, x: Any, activation: str, slope: float | None = None) -> Array:
    """``dy f'(x)``, element by element: the gradient of `activate`; dy and x have one shape and dtype."""
    return _core.activate_grad(dy, x, activation, slope)


softmax = _core.direct(softmax, "x, axis=-1")
log_softmax = _core.direct(log_softmax, "x, axis=-1")
activate = _core.direct(activate, "x, activation, slope=None")
FUNCTIONS[np.matmul] = matmul
