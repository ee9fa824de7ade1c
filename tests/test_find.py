"""find: the first element that is no valid number, label or index, against NumPy."""

from __future__ import annotations

import kernel_cases as cases
import numpy as np
import pytest
from deltarule import _core

kernels = _core.kernels

SHAPES = [
    (0, 0),
    (0, 5),
    (5, 0),
    (1, 1),
    (1, 1000),
    (1000, 1),
    (7, 31),
    (3, 64),
    (40, 33),
    (9, 1025),
    (2, 5000),
]


def expected(x, least=-np.inf, below=0):
    bad = ~np.isfinite(x) | (x < least) if x.dtype.kind == "f" else (x < least) | (x >= below)
    return int(np.argmax(bad)) if bad.any() else -1


def table(shape, dtype, pad=0, start=0):
    """A matrix whose rows lie `pad` elements apart, `start` elements off a 64-byte boundary; bad outside."""
    rows, cols = shape
    outside = -(2**40) if dtype is np.int64 else np.nan
    whole = cases.moved(np.full((rows, cols + pad), outside, dtype), start)
    x = whole[:, : cols or None] if cols else whole[:, :0]
    x[...] = np.random.default_rng(rows + cols).integers(0, 10, shape)
    return x


@pytest.mark.sanitize
@pytest.mark.parametrize("pad", [0, 1, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_the_first_bad_element(isa, dtype, pad):
    for shape in SHAPES:
        for start in (0, 1):
            x = table(shape, dtype, pad, start)
            below = 10
            assert kernels.find(x, 0, below) == -1
            if x.size == 0:
                continue
            rng = np.random.default_rng(x.size)
            places = [0, x.size - 1, *rng.integers(0, x.size, 4)]
            for bad in [np.nan, np.inf, -np.inf, -1] if x.dtype.kind == "f" else [-1, 10, 2**62, -(2**62)]:
                y = x.copy() if pad == 0 else x
                for place in places:
                    before = y.flat[place]
                    y.flat[place] = bad
                    assert kernels.find(y, 0, below) == place == expected(y, 0, below)
                    y.flat[place] = before
                for place in places:
                    y.flat[place] = bad
                assert kernels.find(y, 0, below) == min(places)
                for place in places:
                    y.flat[place] = 1


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_without_a_least_every_finite_number_is_valid(isa, dtype):
    x = np.array(
        [[np.finfo(dtype).max, np.finfo(dtype).min, -0.0, np.finfo(dtype).smallest_subnormal]], dtype
    )
    assert kernels.find(x) == -1
    x[0, 2] = np.nan
    assert kernels.find(x) == 2


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_the_least_number_is_compared_as_a_float64(isa, dtype):
    """Also one that no float32 is: the float32 numbers around it stand on its two sides."""
    for least in (0.0, 0.1, -0.1, 1.0, 1 / 3, 1e-50, -1e-50, 3e38):
        near = dtype(least)
        with np.errstate(over="ignore", under="ignore"):
            around = [np.nextafter(near, dtype(-np.inf)), near, np.nextafter(near, dtype(np.inf))]
        for number in around:
            x = np.array([[number]], dtype)
            assert kernels.find(x, least) == (-1 if float(number) >= least else 0)


def test_labels_at_their_bounds(isa):
    x = np.array([[0, 9, 3, 9, 0]], np.int64)
    assert kernels.find(x, 0, 10) == -1
    assert kernels.find(x, 0, 9) == 1
    assert kernels.find(x, 1, 10) == 0
    assert kernels.find(x, 0, 0) == 0


def test_many_bad_elements(isa):
    """However the work is shared, the first one is found."""
    x = np.zeros((400, 841), np.float32)
    for first in (841 * 400 - 1, 200_001, 70_000, 255, 1, 0):
        x.flat[first:] = np.nan
        assert kernels.find(x) == first
