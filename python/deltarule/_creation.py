"""Arrays made and arrays seen otherwise: creation, conversion, views, DLPack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from deltarule import _core
from deltarule._core import Array
from deltarule._through import unwrap

# fmt: off
__all__ = [
    "arange", "array", "asarray", "astype", "broadcast_to", "copy", "empty", "empty_like", "expand_dims",
    "eye", "from_dlpack", "frombuffer", "fromiter", "full", "full_like", "identity", "linspace",
    "logspace", "ones", "ones_like", "ravel", "reshape", "squeeze", "swapaxes", "transpose", "tri",
    "zeros", "zeros_like",
]
# fmt: on

_CPU, _CUDA = 1, 2  # of DLPack


def _creation(function: Callable[..., Any]) -> Callable[..., Array]:
    def create(*args: Any, device: str = "cpu", **options: Any) -> Array:
        made = function(*map(unwrap, args), **options)
        return _core.from_numpy(made).to_device(device)

    create.__name__ = create.__qualname__ = function.__name__
    create.__doc__ = f"numpy.{function.__name__} as an Array on `device`."
    create.__module__ = "deltarule"
    return create


# NumPy's, that make arrays.
arange = _creation(np.arange)
linspace = _creation(np.linspace)
logspace = _creation(np.logspace)
eye = _creation(np.eye)
identity = _creation(np.identity)
tri = _creation(np.tri)
fromiter = _creation(np.fromiter)
frombuffer = _creation(np.frombuffer)


def asarray(
    a: Any, dtype: DTypeLike | None = None, *, copy: bool | None = None, device: str | None = None
) -> Array:
    """`a` as an Array: itself, or on the memory of a NumPy array, or of CuPy's, PyTorch's or JAX's on a GPU.

    Parameters
    ----------
    a : array_like
        Array, NumPy array, number, nested list, anything with ``__array__`` or a buffer.
    dtype : dtype_like, optional
        float32, float64, int32, int64, uint8 or bool; the default is `a`'s own.
    copy : bool, optional
        True always copies, False never does (ValueError where it must), None where needed.
    device : str, optional
        Where it shall be: "cpu", "cuda", "cuda:1"; by default it stays where it is. What moves is copied.

    Raises
    ------
    TypeError
        An Array has no such dtype.

    Examples
    --------
    >>> import deltarule as dr
    >>> import numpy as np
    >>> x = np.zeros(2)
    >>> dr.asarray(x)[0] = 7
    >>> x
    array([7., 0.])
    """
    shared = _on_gpu(a)
    if shared is not None:
        return _moved(shared, dtype, copy, "cuda" if device is None else device)
    place = "cpu" if device is None else device
    if isinstance(a, Array) and not copy and (dtype is None or a.dtype == np.dtype(dtype)):
        return a if device is None else a.to(place)
    return _core.from_numpy(np.array(unwrap(a), dtype=dtype, copy=copy)).to(place)


def _on_gpu(a: Any) -> Array | None:
    """An Array, or an array of another library, that is in the memory of a GPU; sharing it."""
    if isinstance(a, Array):
        return None if a.device == "cpu" else a
    if isinstance(a, (np.ndarray, np.generic, int, float, list, tuple)):
        return None
    interface = getattr(a, "__cuda_array_interface__", None)
    return None if interface is None else _core.from_cuda_interface(interface, a)


def _moved(a: Array, dtype: DTypeLike | None, copy: bool | None, device: str) -> Array:
    """`a` of a GPU with this dtype, on this device ("cuda": where it is)."""
    converted = dtype is not None and a.dtype != np.dtype(dtype)
    elsewhere = device not in ("cuda", a.device)
    if copy is False and (converted or elsewhere):
        raise ValueError(f"asarray: copy is False, but {a.dtype} on {a.device} must be copied")
    made = a.astype(a.dtype if dtype is None else dtype) if converted or (copy and not elsewhere) else a
    return made.to(device) if elsewhere else made


def array(
    a: Any,
    dtype: DTypeLike | None = None,
    *,
    copy: bool | None = True,
    order: str = "K",
    ndmin: int = 0,
    device: str | None = None,
) -> Array:
    """A new Array with `a`'s elements; as `asarray` otherwise.

    Parameters
    ----------
    a, dtype, copy, device
        As of `asarray`.
    order : {"K", "A", "C", "F"}
        How they lie in memory: as those of `a`, or with the last ("C") or the first index fastest.
    ndmin : int
        Axes of extent 1 come before the others until there are so many.
    """
    made = asarray(a, dtype, copy=copy, device=device)
    if ndmin > made.ndim:
        made = made.reshape((1,) * (ndmin - made.ndim) + made.shape)
    return made if order == "K" else _ordered(made, order, copy)


def _ordered(a: Array, order: str, copy: bool | None) -> Array:
    """`a` itself if it lies so in memory, else a copy that does."""
    if order not in ("A", "C", "F"):
        raise ValueError(f"array: order is {order!r}; choose one of: K, A, C, F")
    rows, columns = a.flags.c_contiguous, a.flags.f_contiguous
    if columns if order == "F" else rows or (order == "A" and columns):
        return a
    if copy is False:
        raise ValueError(f"array: copy is False, but for order {order!r} the elements must be copied")
    return a.T.copy().T if order == "F" else a.copy()


def copy(a: Any) -> Array:
    """A C-contiguous copy."""
    return asarray(a).copy()


def astype(a: Any, dtype: DTypeLike, *, copy: bool = True) -> Array:
    """`a` converted; without `copy`, `a` itself where it has the dtype already."""
    return asarray(a).astype(dtype, copy=copy)


def empty(shape: Any, dtype: DTypeLike | None = None, *, device: str = "cpu") -> Array:
    """A new Array whose elements are not set; float64 unless `dtype` says otherwise."""
    return _core.empty(shape, np.float64 if dtype is None else dtype, device)


def zeros(shape: Any, dtype: DTypeLike | None = None, *, device: str = "cpu") -> Array:
    """A new Array of zeros; float64 unless `dtype` says otherwise."""
    return _core.zeros(shape, np.float64 if dtype is None else dtype, device)


def ones(shape: Any, dtype: DTypeLike | None = None, *, device: str = "cpu") -> Array:
    """A new Array of ones; float64 unless `dtype` says otherwise."""
    return full(shape, 1, np.float64 if dtype is None else dtype, device=device)


def full(shape: Any, fill_value: Any, dtype: DTypeLike | None = None, *, device: str = "cpu") -> Array:
    """A new Array, every element `fill_value` (or it broadcast), with its dtype unless another is given."""
    made = empty(shape, np.asarray(unwrap(fill_value)).dtype if dtype is None else dtype, device=device)
    made[...] = fill_value
    return made


def empty_like(a: Any, dtype: DTypeLike | None = None, shape: Any = None) -> Array:
    """A new Array of `a`'s shape, dtype and device; its elements are not set."""
    like = asarray(a)
    return empty(
        like.shape if shape is None else shape, like.dtype if dtype is None else dtype, device=like.device
    )


def zeros_like(a: Any, dtype: DTypeLike | None = None, shape: Any = None) -> Array:
    """Zeros of `a`'s shape, dtype and device."""
    return full_like(a, 0, dtype, shape)


def ones_like(a: Any, dtype: DTypeLike | None = None, shape: Any = None) -> Array:
    """Ones of `a`'s shape, dtype and device."""
    return full_like(a, 1, dtype, shape)


def full_like(a: Any, fill_value: Any, dtype: DTypeLike | None = None, shape: Any = None) -> Array:
    """A new Array of `a`'s shape, dtype and device, every element `fill_value`."""
    made = empty_like(a, dtype, shape)
    made[...] = fill_value
    return made


def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> Array:
    """An Array on the memory of any object that speaks DLPack.

    Parameters
    ----------
    x : object with ``__dlpack__`` and ``__dlpack_device__``
    device : str, optional
        Where the Array shall be: where `x` is, or BufferError. None: where it is.
    copy : bool, optional
        As of `asarray`; the copy is the producer's where it can make one.

    Returns
    -------
    Array
        Read-only where `x` is, and where `x` speaks DLPack before version 1, which cannot say.

    Raises
    ------
    BufferError
        `x` is on another device, has a dtype that an Array has not, or cannot be shared.
    """
    kind, index = (int(part) for part in x.__dlpack_device__())
    if kind not in (_CPU, _CUDA):
        raise BufferError(
            f"from_dlpack: x is on DLPack device ({kind}, {index}); wanted the CPU or a CUDA device"
        )
    name = "cpu" if kind == _CPU else f"cuda:{index}"
    if device is not None and empty((0,), np.uint8, device=device).device != name:
        raise BufferError(f"from_dlpack: x is on {name}, wanted {device}; copy it there first")
    # The producer's work comes before ours on our stream; the CPU has none.
    stream = {} if kind == _CPU else {"stream": _core.stream_address(name)}
    try:
        capsule = x.__dlpack__(max_version=(1, 1), dl_device=(kind, index), copy=copy, **stream)
    except TypeError:  # a producer from before version 1 knows none of these arguments
        shared = _core.from_dlpack_capsule(x.__dlpack__(**stream))
        return shared.copy() if copy else shared
    return _core.from_dlpack_capsule(capsule)


def reshape(a: Any, shape: Any, order: str = "C") -> Array:
    """`a` with another shape, one extent of which may be -1: a view where memory allows, else a copy.

    The elements are read and placed with the last index fastest, with order "F" the first, with "A" as they lie
    in memory.
    """
    return asarray(a).reshape(shape, order=order)


def ravel(a: Any, order: str = "C") -> Array:
    """`a` in one dimension, in the order of `reshape`: a view where memory allows, else a copy."""
    return asarray(a).ravel(order)


def transpose(a: Any, axes: Any = None) -> Array:
    """A view with the axes in the order `axes`, or reversed."""
    return asarray(a).transpose(axes)


def swapaxes(a: Any, axis1: int, axis2: int) -> Array:
    """A view with two axes exchanged."""
    return asarray(a).swapaxes(axis1, axis2)


def squeeze(a: Any, axis: Any = None) -> Array:
    """A view without the axes of extent 1, or without those of `axis`."""
    return asarray(a).squeeze(axis)


def expand_dims(a: Any, axis: Any) -> Array:
    """A view with new axes of extent 1 at the places `axis` of the result."""
    return _core.expand_dims(a, axis)


def broadcast_to(array: Any, shape: Any) -> Array:
    """A read-only view stretched to `shape`."""
    return _core.broadcast_to(array, shape)
