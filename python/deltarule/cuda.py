"""NVIDIA GPUs: which there are, and how much of their memory deltarule may use.

Arrays and networks are put on a GPU with ``device="cuda"`` (the first one) or ``"cuda:1"``. Where CUDA cannot be used,
`is_available` is False, `missing` says why and what to do about it, and the other functions raise ``DeviceError`` with
that reason.

Memory of arrays that are gone is kept for the next ones, because asking CUDA for memory takes long and waits for the
GPU; `release_cached` gives it back for other programs.

>>> from deltarule import cuda
>>> cuda.is_available() == (cuda.device_count() > 0)
True
"""

from __future__ import annotations

from dataclasses import dataclass

from ._core import cuda as _cuda

__all__ = [
    "MemoryInfo",
    "Properties",
    "device_count",
    "is_available",
    "memory",
    "missing",
    "properties",
    "release_cached",
    "set_memory_limit",
    "synchronize",
]


@dataclass(frozen=True)
class MemoryInfo:
    """Memory of a GPU, in bytes.

    Attributes
    ----------
    used : int
        In arrays, networks and what kernels need besides.
    cached : int
        Given back by them and kept for the next ones.
    peak : int
        The most that `used` ever was.
    limit : int or None
        For `used` and `cached` together, as `set_memory_limit` has set it.
    total, free : int
        Of the GPU, with all programs on it.
    """

    used: int
    cached: int
    peak: int
    limit: int | None
    total: int
    free: int


@dataclass(frozen=True)
class Properties:
    """What a GPU is.

    Attributes
    ----------
    name : str
        As its maker calls it.
    capability : tuple of int
        Compute capability, (9, 0) for Hopper.
    memory : int
        Bytes.
    multiprocessors : int
        How many it has.
    """

    name: str
    capability: tuple[int, int]
    memory: int
    multiprocessors: int


def is_available() -> bool:
    """Whether there is a GPU that deltarule can use."""
    return device_count() > 0


def device_count() -> int:
    """Return the number of GPUs that deltarule can use; ``deltarule.devices()`` names them."""
    return int(_cuda.device_count())


def missing() -> str:
    """Say in one line why there is no GPU to use, and what to do about it; "" if there is one."""
    return str(_cuda.missing())


def properties(device: str = "cuda") -> Properties:
    """Return what a GPU is, without starting it.

    Raises
    ------
    DeviceError
        If there is no such GPU.
    """
    return Properties(**_cuda.properties(device))


def memory(device: str = "cuda") -> MemoryInfo:
    """Return how much memory of a GPU is used, in bytes.

    Raises
    ------
    DeviceError
        If there is no such GPU, or it cannot be used any more.
    """
    now = _cuda.memory(device)
    return MemoryInfo(**{**now, "limit": now["limit"] or None})


def set_memory_limit(bytes: int | None, device: str = "cuda") -> None:
    """Let deltarule take at most so many bytes of a GPU's memory; None: all there is.

    What is beyond the limit already is not taken away, but nothing is added to it. CUDA itself needs some hundred MB
    besides. An array that does not fit raises ``DeviceError`` and leaves everything as it was.

    Raises
    ------
    ValueError
        If `bytes` is not positive.
    DeviceError
        If there is no such GPU.
    """
    if bytes is not None and bytes <= 0:
        raise ValueError(f"set_memory_limit: bytes is {bytes}; at least 1 is wanted, or None for no limit")
    _cuda.set_memory_limit(bytes or 0, device)


def release_cached(device: str = "cuda") -> None:
    """Give memory that is kept for the next arrays back to CUDA, so that other programs can have it.

    Raises
    ------
    DeviceError
        If there is no such GPU, or it cannot be used any more.
    """
    _cuda.release_cached(device)


def synchronize(device: str = "cuda") -> None:
    """Wait until all work queued on a GPU is done: for timing, and to see what went wrong in it.

    Raises
    ------
    DeviceError
        If there is no such GPU, or something queued before went wrong.
    """
    _cuda.synchronize(device)
