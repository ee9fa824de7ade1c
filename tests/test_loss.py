"""loss: value, gradient and errors against the oracle, on every instruction set."""

from __future__ import annotations

import itertools

import kernel_cases as cases
import numpy as np
import pytest
import reference
import tolerance
from deltarule import _core

kernels = _core.kernels

ROWS = [0, 1, 2, 9, 64, 65, 130]
COLS = [1, 2, 3, 4, 7, 8, 9, 10, 15, 16, 17, 35, 1025, 2050]


def problem(name, rows, cols, dtype, kind, weighted):
    """y, labels, targets, weights: `kind` is "labels" or "targets"."""
    rng = np.random.default_rng(rows * 10_000 + cols)
    y = rng.normal(0, 2, (rows, cols)).astype(dtype)
    labels = rng.integers(0, 2 if cols == 1 and name != "softmax_cross_entropy" else cols, rows)
    targets = rng.uniform(0, 1, (rows, cols)).astype(dtype)
    if name == "binary_cross_entropy":
        targets = np.round(targets)
    weights = rng.uniform(0, 2, rows).astype(dtype) if weighted else None
    return y, labels if kind == "labels" else None, targets if kind == "targets" else None, weights


def check(name, y, labels, targets, weights, scale, start=0):
    dtype = y.dtype
    dy = cases.Guarded(y.shape, dtype, start)
    got, errors, weight = kernels.loss(name, cases.moved(y, start), labels, targets, weights, scale, dy.array)
    value, gradient, wrong = reference.loss(name, y, labels, targets, weights, scale)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
    t = reference.wide(targets) if targets is not None else reference.one_hot(labels, y.shape[1])
    rows = reference.LOSSES[name](reference.wide(y), t)[0] if y.size else np.zeros(0)
    mass = 1 + np.abs(np.asarray(t, np.float64)).sum(1)
    cases.within(
        got,
        value,
        abs(scale) * tolerance.loss_value(np.abs(rows) + np.abs(y).max(1, initial=0) + mass, w * mass, dtype),
    )
    cases.within(dy.check(), gradient, tolerance.loss_gradient(y, scale * (w * mass)[:, None], dtype))
    assert errors == wrong
    assert weight == sum(map(float, w))  # row after row
    return got, errors, weight


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("kind", ["labels", "targets"])
@pytest.mark.parametrize("name", kernels.loss_names)
def test_value_gradient_errors(isa, name, kind, dtype):
    shapes = [(5, cols) for cols in COLS] + [(rows, 10) for rows in ROWS]
    for number, (rows, cols) in enumerate(shapes):
        case = problem(name, rows, cols, dtype, kind, weighted=number % 2 == 0)
        start = cases.STARTS[number % 3]
        found = check(name, *case, 1 / max(1, rows), start)
        y, labels, targets, weights = case
        alone = kernels.loss(name, y, labels, targets, weights, 1 / max(1, rows))  # no gradient wanted
        assert alone == found
        if rows and (weights is None or weights.any()):
            mean = kernels.loss(name, y, labels, targets, weights, 1.0, mean=True)
            assert mean == kernels.loss(name, y, labels, targets, weights, 1.0 / found[2])


def test_mean_of_nothing_is_0(isa):
    y = np.ones((3, 2), np.float32)
    for weights, rows in ((np.zeros(3, np.float32), 3), (None, 0)):
        dy = np.full((rows, 2), np.nan, np.float32)
        result = kernels.loss(
            "squared_error", y[:rows], np.zeros(rows, np.int64), None, weights, dy=dy, mean=True
        )
        assert result == (0.0, 0, 0.0)
        assert not dy.any()


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("kind", ["labels", "targets"])
@pytest.mark.parametrize("name", kernels.loss_names)
def test_the_same_bits_for_every_number_of_threads(isa, threads, name, kind, dtype):
    y, labels, targets, weights = problem(name, 3001, 13, dtype, kind, weighted=True)
    found = []
    for count in (1, 2, 3):
        threads(count)
        dy = np.full_like(y, np.nan)
        found.append((*kernels.loss(name, y, labels, targets, weights, 0.01, dy), cases.bits(dy)))
    assert found[0] == found[1] == found[2]
    check(name, y, labels, targets, weights, 0.01)


@pytest.mark.parametrize("name", kernels.loss_names)
def test_large_logits_do_not_overflow(isa, name):
    y = np.array([[1e4, -1e4, 3], [-1e4, -1e4, -1e4], [0, 0, 1e4]], np.float32)
    if name == "squared_error":
        y = y / 100
    for labels in itertools.product(range(3), repeat=3):
        check(name, y, np.array(labels), None, None, 1.0)


@pytest.mark.parametrize("name", kernels.loss_names)
@pytest.mark.parametrize("cols", [3, 20])
def test_nan_and_inf_reach_the_value(isa, name, cols):
    for bad, at in itertools.product((np.nan, np.inf), range(cols)):
        y = np.zeros((2, cols), np.float32)
        y[1, at] = bad
        value, *_ = kernels.loss(name, y, np.array([0, (at + 1) % cols]), None, None, 1.0, np.empty_like(y))
        assert not np.isfinite(value)


@pytest.mark.parametrize("name", kernels.loss_names)
def test_the_argmax_is_the_first_of_equals(isa, name):
    y = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1], [2, 2, 2]], np.float32)
    for label, wrong in ((0, 1), (1, 3), (2, 4)):
        assert kernels.loss(name, y, np.full(4, label))[1] == wrong


def test_thresholds_of_one_output(isa):
    y = np.array([[-0.1], [0.0], [0.1], [0.5], [0.6]], np.float32)
    ones = np.ones(5, np.int64)
    assert kernels.loss("squared_error", y, ones)[1] == 4
    assert kernels.loss("squared_error", y, 0 * ones)[1] == 1
    assert kernels.loss("binary_cross_entropy", y, ones)[1] == 2
    assert kernels.loss("binary_cross_entropy", y, 0 * ones)[1] == 3


@pytest.mark.parametrize("name", kernels.loss_names)
def test_gradient_is_the_value_s(name):
    """The projection check, central differences in float64."""
    rng = np.random.default_rng(2)
    y, _, targets, weights = problem(name, 7, 11, np.float64, "targets", weighted=True)
    direction = rng.standard_normal(y.shape)
    dy = np.empty_like(y)
    kernels.loss(name, y, None, targets, weights, 0.3, dy)
    h = 1e-5
    ahead, behind = (
        kernels.loss(name, y + s * h * direction, None, targets, weights, 0.3)[0] for s in (1, -1)
    )
    error = abs((dy * direction).sum() - (ahead - behind) / (2 * h))
    assert error <= tolerance.central_difference(dy, direction)
