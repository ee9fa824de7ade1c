"""What the tests of the raw kernels share: sizes, guarded memory, comparison."""

from __future__ import annotations

import numpy as np

DTYPES = [np.float32, np.float64]
# Around vectors of 4, 8 and 16 lanes and four of them: V-1, V, V+1, 2V+3, 4V+-1
SIZES = [0, 1, 3, 4, 5, 7, 8, 9, 11, 15, 16, 17, 19, 31, 33, 35, 63, 64, 65, 130]
STARTS = [0, 1, 3]
CANARY = 77


class Guarded:
    """An output between canaries, `start` elements off a 64-byte boundary, poisoned first (NaN, or -1)."""

    def __init__(self, shape, dtype, start: int = 0):
        dtype = np.dtype(dtype)
        n = int(np.prod(shape))
        raw = np.zeros((n + 256) * dtype.itemsize + 64, np.uint8)
        raw = raw[-raw.ctypes.data % 64 :][: (n + 256) * dtype.itemsize].view(dtype)
        raw.view(np.uint8)[:] = CANARY
        self._ends = (raw[: 64 + start], raw[64 + start + n :])
        self.array = raw[64 + start : 64 + start + n].reshape(shape)
        self.array[...] = np.nan if dtype.kind == "f" else -1 if dtype.kind == "i" else 0

    def check(self) -> np.ndarray:
        """The output, if nothing around it was touched."""
        for end in self._ends:
            assert np.all(end.view(np.uint8) == CANARY), "written outside the array"
        return self.array


def moved(x: np.ndarray, start: int) -> np.ndarray:
    """A contiguous copy `start` elements off a 64-byte boundary."""
    out = Guarded(x.shape, x.dtype, start).array
    out[...] = x
    return out


def within(got, exact, bound) -> None:
    """Shape first, then every element; NaN only where the oracle has it too."""
    got, exact, bound = np.asarray(got), np.asarray(exact), np.asarray(bound)
    assert got.shape == exact.shape
    same = (np.isnan(got) & np.isnan(exact)) | (got == exact)
    with np.errstate(invalid="ignore"):
        errors = np.abs(got.astype(np.longdouble) - exact)
        ok = same | (errors <= bound)
    if not np.all(ok):
        at = np.unravel_index(np.argmin(ok), ok.shape)
        limit = np.broadcast_to(bound, ok.shape)[at]
        raise AssertionError(
            f"{np.sum(~ok)} wrong, first at {at}: {got[at]!r}, exact {exact[at]!r}, bound {limit}"
        )


def bits(x: np.ndarray) -> bytes:
    return np.ascontiguousarray(x).tobytes()
