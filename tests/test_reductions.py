"""reduce and softmax: every operation along every kind of axis, on every instruction set."""

from __future__ import annotations

import itertools

import kernel_cases as cases
import numpy as np
import pytest
import reference
import tolerance
from deltarule import _core

kernels = _core.kernels

INDEX = ("argmax", "argmin")
# outer, n, inner: rows, columns, both, around vectors and strips, runs and the cuts for threads
SHAPES = [
    *((1, n, 1) for n in cases.SIZES if n),
    *((3, 5, inner) for inner in cases.SIZES if inner),
    (0, 4, 3), (2, 4, 0), (4, 1023, 1), (2, 1025, 1), (1, 5000, 1),
    (2, 63, 20), (2, 64, 70), (1, 65, 9), (1, 200, 300),
]  # fmt: skip
LARGE = [(1, 300_001, 1), (3, 70_001, 1), (700, 301, 1)]
LARGE += [(1, 50_003, 7), (1, 701, 301), (20, 60, 200), (2, 2, 90_001)]


def result(op, x, start=0):
    outer, _, inner = x.shape
    y = cases.Guarded((outer, inner), np.int64 if op in INDEX else x.dtype, start)
    kernels.reduce(op, x, y.array)
    return y.check()


def check(op, x, y):
    with reference.quiet():
        want = reference.REDUCTIONS[op](reference.wide(x))
    if op in ("sum", "sum_squares"):
        terms = x if op == "sum" else np.square(x, dtype=np.float64)
        cases.within(y, want, tolerance.sum_in_runs(terms, 1, x.dtype))
    elif op == "prod":
        cases.within(y, want, tolerance.product(want, x.shape[1], x.dtype))
    else:
        assert np.array_equal(y, want, equal_nan=op not in INDEX)


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("op", kernels.reduction_names)
def test_shapes(isa, op, dtype):
    for number, shape in enumerate(SHAPES):
        x = np.random.default_rng(number).uniform(-1.5, 1.5, shape).astype(dtype)
        start = cases.STARTS[number % 3]
        check(op, x, result(op, cases.moved(x, start), start))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("op", kernels.reduction_names)
def test_large_and_the_same_bits_for_every_number_of_threads(isa, threads, op, dtype):
    for number, shape in enumerate(LARGE):
        x = np.random.default_rng(number).uniform(0.9, 1.1, shape).astype(dtype)
        found = []
        for count in (1, 2, 3):
            threads(count)
            found.append(result(op, x))
        check(op, x, found[0])
        assert cases.bits(found[0]) == cases.bits(found[1]) == cases.bits(found[2])


def test_a_float32_sum_of_many_equal_terms_does_not_drift(isa):
    """A plain float32 sum of 0.1 stops growing in relative terms: 4 % off at 2^24 terms."""
    x = np.full((1, 3_000_000, 1), 0.1, np.float32)
    exact = 3_000_000 * float(np.float32(0.1))
    assert abs(float(result("sum", x)[0, 0]) - exact) <= 3e-7 * exact


@pytest.mark.parametrize("inner", [1, 3])
@pytest.mark.parametrize("n", [1, 5, 40, 1100, 70_000])
def test_first_of_equals_and_nan_win(isa, inner, n):
    """np.argmax's and np.max's rules, wherever in a run, a vector or a chunk the places are."""
    rng = np.random.default_rng(n)
    for places in ([], [0], [n - 1], sorted(rng.integers(0, n, 3))):
        for value in (np.nan, np.inf, -np.inf, 7.0):
            x = np.random.default_rng(5).integers(0, 3, (2, n, inner)).astype(np.float32)
            x[1, places, inner - 1] = value
            for op in ("max", "min", "argmax", "argmin"):
                check(op, x, result(op, x))


def test_zeros_of_both_signs_are_equal(isa):
    x = np.zeros((1, 40, 1), np.float32)
    x[0, ::2] = -0.0
    assert result("argmax", x)[0, 0] == result("argmin", x)[0, 0] == 0


@pytest.mark.parametrize("op", ["sum", "prod", "sum_squares"])
@pytest.mark.parametrize("inner", [1, 5])
def test_nothing_to_add(isa, op, inner):
    y = result(op, np.zeros((2, 0, inner), np.float32))
    assert np.all(y == (1 if op == "prod" else 0))


@pytest.mark.parametrize("inner", [1, 5])
def test_infinities_and_nan_in_sums(isa, inner):
    for op, bad in itertools.product(("sum", "prod", "sum_squares"), (np.inf, -np.inf, np.nan)):
        x = np.ones((1, 70, inner), np.float32)
        x[0, 66, 0] = bad
        y = result(op, x)
        with reference.quiet():
            assert np.array_equal(y, reference.REDUCTIONS[op](x), equal_nan=True)


def test_a_product_may_leave_float32_on_the_way(isa):
    x = np.array([1e30, 1e30, 1e-30, 1e-30], np.float32).reshape(1, 4, 1)
    assert abs(result("prod", x)[0, 0] - 1) < 1e-6


def softmax(x, *, log, start=0):
    y = cases.Guarded(x.shape, x.dtype, start)
    kernels.softmax(x, y.array, log)
    return y.check()


@pytest.mark.sanitize
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_softmax(isa, dtype, log):
    shapes = [(3, n) for n in cases.SIZES if n] + [(0, 3), (3, 0), (2, 1100), (1, 5000)]
    for number, shape in enumerate(shapes):
        x = np.random.default_rng(number).normal(0, 4, shape).astype(dtype)
        start = cases.STARTS[number % 3]
        want = reference.softmax(x, log=log)
        y = softmax(cases.moved(x, start), log=log, start=start)
        cases.within(y, want, tolerance.softmax(want, shape[1], dtype, log=log))
        kernels.softmax(x, x, log)
        assert cases.bits(x) == cases.bits(y)


@pytest.mark.parametrize("log", [False, True])
def test_softmax_of_extremes(isa, log):
    x = np.array([[1e30, -1e30, 0], [-1e5, -1e5, -1e5], [88, 89, 90], [-np.inf, 0, 1]], np.float32)
    want = reference.softmax(x, log=log)
    cases.within(softmax(x, log=log), want, tolerance.softmax(want, 3, np.float32, log=log))
    for row in ([0, np.nan, 1], [np.nan, 5, 1], [1, 5, np.nan]):
        assert np.all(np.isnan(softmax(np.array([row * 7], np.float32), log=log)))


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_softmax_has_the_same_bits_for_every_number_of_threads(isa, threads, dtype):
    for cols in (3, 10, 17, 65):
        x = np.random.default_rng(1).normal(0, 4, (51_013 // cols, cols)).astype(dtype)
        found = []
        for count in (1, 2, 3):
            threads(count)
            found.append(cases.bits(softmax(x, log=False)) + cases.bits(softmax(x, log=True)))
        assert found[0] == found[1] == found[2]
