"""Reductions, softmax, activations and matrix products of Array against float64 NumPy."""

from __future__ import annotations

import itertools

import deltarule as dr
import numpy as np
import pytest
import reference
import tolerance
from deltarule import _core
from test_ops import assert_same, outcome

pytestmark = pytest.mark.sanitize
FLOATS = [np.float32, np.float64]
SHAPES = [(), (1,), (7,), (3, 4), (2, 3, 4), (2, 1, 5, 3)]


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def axes_of(rank):
    """None and every set of axes, one alone also negative."""
    sets = [axes for count in range(rank + 1) for axes in itertools.combinations(range(rank), count)]
    return [None, *range(-rank, rank), *sets]


def layouts(x):
    return [x, x.T.copy().T, np.repeat(x[..., None], 2, -1)[..., 0], x[::-1] if x.ndim else x]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["sum", "prod", "mean", "max", "min"])
def test_reductions(name, shape, dtype):
    x = normal(shape, dtype)
    function = getattr(np, name)
    for y, axis, keepdims in itertools.product(layouts(x), axes_of(len(shape)), [False, True]):
        got = getattr(dr, name)(y, axis=axis, keepdims=keepdims)
        want = function(y.astype(np.longdouble), axis=axis, keepdims=keepdims)
        assert got.dtype == dtype
        assert got.shape == np.shape(want)
        size = function(np.abs(y.astype(np.longdouble)), axis=axis, keepdims=keepdims)
        bound = 0 if name in ("max", "min") else tolerance.rounded(2 * np.sqrt(x.size) + 4, size, dtype)
        assert np.all(np.abs(got.numpy() - want) <= bound)
        method = getattr(dr.asarray(y), name)(axis, keepdims=keepdims)
        np.testing.assert_array_equal(method.numpy(), got.numpy())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_places(name, shape, dtype):
    x = np.random.default_rng(0).integers(0, 4, shape).astype(dtype)
    for y, axis, keepdims in itertools.product(
        layouts(x), [None, *range(-len(shape), len(shape))], [False, True]
    ):
        assert_same(
            getattr(dr, name)(y, axis, keepdims=keepdims), getattr(np, name)(y, axis, keepdims=keepdims)
        )
    x[(0,) * x.ndim] = np.nan
    for axis in [None, *range(x.ndim)]:
        assert_same(getattr(dr.asarray(x), name)(axis), getattr(x, name)(axis))


@pytest.mark.parametrize("name", ["max", "min"])
def test_nan_wins(name):
    x = normal((40, 50), np.float32)
    x[3, 4] = np.nan
    for axis in (None, 0, 1):
        assert_same(getattr(dr, name)(x, axis), getattr(np, name)(x, axis))


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.bool])
@pytest.mark.parametrize(
    "name", ["sum", "prod", "mean", "max", "min", "argmax", "argmin", "all", "any", "std", "cumsum"]
)
def test_integers_go_through_numpy(name, dtype):
    x = np.random.default_rng(0).integers(0, 3, (4, 5)).astype(dtype)
    for axis in (None, 0, -1):
        assert_same(getattr(dr.asarray(x), name)(axis=axis), outcome(getattr(np, name), x, axis))


def test_reduction_options():
    x = normal((3, 4), np.float32)
    a = dr.asarray(x)
    out = dr.zeros(4, np.float32)
    assert a.sum(axis=0, out=out) is out
    assert np.all(np.abs(out.numpy() - x.sum(0)) <= tolerance.summed(x, np.float32))
    assert a.sum(dtype=np.float64).dtype == np.float64
    assert a.sum(0, np.float64).dtype == np.float64
    assert_same(a.sum(axis=0, where=x > 0, initial=1), x.sum(axis=0, where=x > 0, initial=1))
    assert_same(a.max(0, None, True), x.max(0, None, True))
    got = np.sum(a, axis=1)
    assert isinstance(got, dr.Array)
    assert np.all(np.abs(got.numpy() - x.sum(1)) <= tolerance.summed(x.T, np.float32))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (0, 0)], ids=str)
@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "argmax", "argmin"])
def test_reductions_of_nothing(name, shape):
    x = np.zeros(shape, np.float32)
    for axis in [None, *range(len(shape))]:
        assert_same(outcome(getattr(dr, name), x, axis), outcome(getattr(np, name), x, axis))


@pytest.mark.parametrize(
    ("compute", "error", "message"),
    [
        (lambda a: a.sum(axis=2), ValueError, r"sum: axis is 2, the array has 2 dimensions"),
        (lambda a: a.max(axis=(0, 0)), ValueError, r"max: axes are \(0, 0\); each may be named once"),
        (lambda a: a[:0].max(), ValueError, r"max: array is \(0, 4\); there is no element to choose from"),
        (
            lambda a: a.sum(axis=0, out=dr.zeros(3, np.float32)),
            ValueError,
            r"sum: out is \(3,\), the result is \(4,\)",
        ),
        (lambda a: _core.argmax(a, (0, 1)), TypeError, r"argmax: axis is \(0, 1\); it must be one axis"),
    ],
)
def test_reduction_errors(compute, error, message, one_line):
    with one_line(error, f"^{message}"):
        compute(dr.zeros((3, 4), np.float32))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("log", [False, True])
def test_softmax(shape, dtype, log):
    x = 30 * normal(shape, dtype)
    function = dr.log_softmax if log else dr.softmax
    for axis in range(-len(shape), len(shape)):
        got = function(x, axis)
        want = np.moveaxis(
            reference.softmax(np.moveaxis(x, axis, -1).reshape(-1, shape[axis]), log=log), -1, -1
        )
        want = np.moveaxis(want.reshape(np.moveaxis(x, axis, -1).shape), -1, axis)
        assert (got.dtype, got.shape) == (dtype, shape)
        size = 100 if log else 100 * want
        assert np.all(np.abs(got.numpy() - want) <= tolerance.rounded(8, size, dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", _core.activations())
def test_activations(name, dtype):
    x, dy = normal((3, 4), dtype), normal((4, 3), dtype, 1).T
    slope = _core.default_slope()[name]
    got = dr.activate(x, name)
    want = reference.activation(name, x, slope)
    assert (got.dtype, got.shape) == (dtype, x.shape)
    assert np.all(np.abs(got.numpy() - want) <= tolerance.rounded(16, np.abs(want) + 1, dtype))
    grad = dr.activate_grad(dy, x, name)
    exact = dy * reference.activation_derivative(name, x, slope)
    assert np.all(np.abs(grad.numpy() - exact) <= tolerance.rounded(16, np.abs(dy) * 4, dtype))


PRODUCTS = [
    ((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((1, 1), (1, 1)), ((1, 4), (4, 1)),
    ((33, 65), (65, 17)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((2, 3, 4), (2, 4, 5)), ((4,), (2, 4, 5)),
    ((5, 1, 3, 4), (2, 4, 6)), ((2, 3, 4), (4,)), ((3, 0), (0, 5)), ((0, 4), (4, 5)), ((0, 3, 4), (4, 5)),
    ((0, 3, 4), (0, 4, 5)),
]  # fmt: skip


def matrix_layouts(x):
    """x in memory orders a gemm takes, and in some it does not."""
    if x.ndim < 2:
        return [x, np.repeat(x, 2)[::2], x[::-1].copy()[::-1]]
    padded = np.full((*x.shape[:-1], x.shape[-1] + 3), np.nan, x.dtype)[..., : x.shape[-1]]
    padded[...] = x
    strided = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)[..., ::2]
    strided[...] = x
    turned = x[..., ::-1, :].copy()[..., ::-1, :]
    return [x, x.swapaxes(-1, -2).copy().swapaxes(-1, -2), padded, strided, turned]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shapes", PRODUCTS, ids=str)
def test_matmul(shapes, dtype):
    x, y = normal(shapes[0], dtype), normal(shapes[1], dtype, 1)
    want = np.asarray(x.astype(np.float64) @ y.astype(np.float64))
    bound = tolerance.rounded(2 * np.sqrt(x.shape[-1]) + 5, np.abs(x.astype(np.float64)) @ np.abs(y), dtype)
    for left, right in itertools.product(matrix_layouts(x), matrix_layouts(y)):
        for got in (dr.asarray(left) @ dr.asarray(right), left @ dr.asarray(right), dr.matmul(left, right)):
            assert isinstance(got, dr.Array)
            assert (got.dtype, got.shape) == (dtype, want.shape)
            assert np.all(np.abs(got.numpy() - want) <= bound)
    out = np.full((*want.shape, 2), np.nan, dtype)[..., 0]
    assert dr.matmul(x, y, out=out) is out
    assert np.all(np.abs(out - want) <= bound)


def test_matmul_of_mixed_and_integer_types():
    x, y = np.arange(12).reshape(3, 4), np.arange(20).reshape(4, 5)
    for left, right in itertools.product([np.float32, np.float64, np.int32, np.uint8, np.bool], repeat=2):
        assert_same(dr.matmul(x.astype(left), y.astype(right)), x.astype(left) @ y.astype(right))


def test_matmul_out_may_be_an_operand():
    x = normal((4, 4), np.float32)
    a = dr.array(x)
    want = (a @ a.T).numpy()
    assert dr.matmul(a, a.T, out=a) is a
    np.testing.assert_array_equal(a.numpy(), want)
    b = dr.array(x)
    b @= x
    np.testing.assert_array_equal(b.numpy(), dr.matmul(x, x).numpy())


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_matmul_s_precisions_are_names(precision):
    x = normal((8, 8), np.float32)
    got = dr.matmul(x, x, precision=precision)
    assert np.all(np.abs(got.numpy() - x @ x) <= 2.0**-7 * (np.abs(x) @ np.abs(x)))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3, 4), (5, 6)), r"matmul: a is \(3, 4\), b is \(5, 6\); a\.shape\[1\] must equal b\.shape\[0\]"),
        (((4,), (5,)), r"matmul: a is \(4,\), b is \(5,\); a\.shape\[0\] must equal b\.shape\[0\]"),
        (((2, 3, 4), (3, 4, 5)), r"matmul: the leading axes: a is \(2,\), b is \(3,\)"),
        (((), (3,)), r"matmul: a is \(\), b is \(3,\); both must have at least one dimension"),
    ],
)
def test_matmul_errors(shapes, message, one_line):
    with one_line(ValueError, f"^{message}"):
        dr.matmul(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_matmul_precision_error(one_line):
    with one_line(ValueError, "^matmul: precision is 'low'; choose one of: highest, high, medium$"):
        dr.matmul(np.zeros((2, 2)), np.zeros((2, 2)), precision="low")


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "mean", "argmax", "argmin"])
@pytest.mark.parametrize("axis", [0, -1, 1, -2])
@pytest.mark.parametrize("keepdims", [False, True])
def test_axes_of_an_array_without_dimensions(name, axis, keepdims):
    x = np.array(3, np.float32)
    try:
        want = getattr(np, name)(x, axis=axis, keepdims=keepdims)
    except ValueError:
        with pytest.raises(ValueError, match=f"axis is {axis}, the array has 0 dimensions"):
            getattr(dr, name)(x, axis=axis, keepdims=keepdims)
        return
    for got in (
        getattr(dr, name)(x, axis=axis, keepdims=keepdims),
        getattr(dr.asarray(x), name)(axis=axis, keepdims=keepdims),
    ):
        assert got.shape == want.shape == ()
        assert got.item() == want.item()
