"""Rows of every small width: softmax in registers (csrc/cpu/softmax.inl), the place of the largest (reduce.inl)."""

from __future__ import annotations

import kernel_cases as cases
import numpy as np
import pytest
import tolerance
from deltarule import _core

kernels = _core.kernels
WIDTHS = [*range(1, 72), 127, 128, 129, 1025]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_softmax_of_every_width(isa, dtype, log):
    rng = np.random.default_rng(3)
    for cols in WIDTHS:
        x = rng.normal(0, 3, (37, cols)).astype(dtype)  # two groups of 16 rows at least, and a remainder
        whole = np.full(x.size + 3, 7, dtype)  # canaries at both ends, and a misaligned start
        y = whole[1 : 1 + x.size].reshape(x.shape)
        kernels.softmax(x, y, log)
        assert whole[0] == 7
        assert (whole[1 + x.size :] == 7).all()
        x64 = x.astype(np.float64)
        shifted = x64 - x64.max(1, keepdims=True)
        exact = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        exact = exact if log else np.exp(exact)
        assert np.all(np.abs(y - exact) <= tolerance.softmax(exact, cols, dtype, log=log))
        for row in (0, 3, 15, 18, 31, 36):  # a row's bits do not depend on where it stands
            one = np.empty_like(x[:1])
            kernels.softmax(x[row : row + 1].copy(), one, log)
            assert cases.bits(one) == cases.bits(y[row])
        in_place = x.copy()
        kernels.softmax(in_place, in_place, log)
        assert cases.bits(in_place) == cases.bits(y)


@pytest.mark.parametrize("rows", [4, 36])  # one by one, and several at a time
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_softmax_of_what_is_not_finite(isa, dtype, rows):
    for cols in (3, 16, 17, 40, 100):
        x = np.zeros((rows, cols), dtype)
        x[0::4, -1] = np.inf
        x[1::4, 0] = np.nan
        x[2::4, :] = -np.inf
        x[3::4, :-1] = -np.inf
        y = np.empty_like(x)
        kernels.softmax(x, y, False)
        assert np.isnan(y[0::4, -1]).all()
        assert np.isnan(y[1::4]).all()
        assert np.isnan(y[2::4]).all()
        assert np.array_equal(y[3::4], np.tile([0] * (cols - 1) + [1], (rows // 4, 1)))


@pytest.mark.parametrize("op", ["argmax", "argmin"])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_the_place_of_the_first(isa, dtype, op):
    rng = np.random.default_rng(4)
    for n in [*range(1, 72), 1023, 1024, 1025, 5000]:
        x = rng.integers(0, max(2, n // 3), n).astype(dtype)
        for nan in (False, True):
            if nan:
                x[rng.integers(0, n, 2)] = np.nan
            for run in (x, np.concatenate([[5], x]).astype(dtype)[1:]):
                y = np.full(1, -1, np.int64)
                kernels.reduce(op, run.reshape(1, n, 1), y.reshape(1, 1))
                assert y[0] == getattr(np, op)(x)
