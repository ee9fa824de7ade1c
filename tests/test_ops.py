"""Operators and element-wise functions of Array against NumPy: values, dtypes, shapes, promotion, errors."""

from __future__ import annotations

import itertools
import operator
import threading

import deltarule as dr
import numpy as np
import pytest
from deltarule import _core
from reference import UNARY, quiet, wide
from tolerance import ulps

DTYPES = [np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool]
SCALARS = [True, 3, 2.5]
ARITHMETIC = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow"]
BITWISE = ["and", "or", "xor", "lshift", "rshift"]
COMPARISONS = ["lt", "le", "eq", "ne", "gt", "ge"]
WIDENED = {"float16": "float32", "int8": "int32", "uint64": "int64"}
MAX_ULPS = 2  # between the two libraries' functions; arithmetic is IEEE's and equal
pytestmark = pytest.mark.sanitize


def python_operator(name):
    return getattr(operator, f"__{name}__")


def sample(dtype, shape=(3, 4), seed=0):
    numbers = np.random.default_rng(seed).integers(1, 6, shape)
    return (numbers % 2 if np.dtype(dtype).kind == "b" else numbers).astype(dtype)


def outcome(compute, *args):
    """What compute(*args) gives, or the type of error it raises."""
    with np.errstate(all="ignore"):
        try:
            return compute(*args)
        except Exception as error:
            return type(error)


def assert_same(got, want):
    """got is the Array for NumPy's want; an error is the same error."""
    if isinstance(want, type):
        assert isinstance(got, type), f"{got!r} instead of {want}"
        assert issubclass(got, want) or issubclass(want, got)
        return
    if isinstance(want, tuple):
        assert isinstance(got, tuple)
        for left, right in zip(got, want, strict=True):
            assert_same(left, right)
        return
    assert isinstance(got, dr.Array), f"{got!r} instead of {want!r}"
    want = np.asarray(want)
    assert got.dtype == WIDENED.get(want.dtype.name, want.dtype)
    assert got.shape == want.shape
    np.testing.assert_array_equal(got.numpy(), want)


@pytest.mark.parametrize("name", [*ARITHMETIC, *BITWISE, *COMPARISONS])
@pytest.mark.parametrize("left", DTYPES)
def test_binary_operators(name, left):
    function = python_operator(name)
    x = sample(left)
    for right in DTYPES:
        y = sample(right, seed=1)
        want = outcome(function, x, y)
        assert_same(outcome(function, dr.asarray(x), dr.asarray(y)), want)
        assert_same(outcome(function, dr.asarray(x), y), want)
        assert_same(outcome(function, x, dr.asarray(y)), want)
    for scalar in [*SCALARS, np.float32(2), np.float64(2), np.int64(2), np.uint8(1), np.bool(True)]:
        assert_same(outcome(function, dr.asarray(x), scalar), outcome(function, x, scalar))
        assert_same(outcome(function, scalar, dr.asarray(x)), outcome(function, scalar, x))
    listed = [1, 2, 3, 1]
    assert_same(outcome(function, dr.asarray(x), listed), outcome(function, x, listed))
    assert_same(outcome(function, listed, dr.asarray(x)), outcome(function, listed, x))


@pytest.mark.parametrize("left", DTYPES)
@pytest.mark.parametrize("right", DTYPES)
def test_promotion_of_arrays_is_numpy_s(left, right):
    a, b = dr.zeros(2, left), dr.zeros(2, right)
    assert (a * b).dtype == np.result_type(left, right)
    assert dr.add(a, b).dtype == np.result_type(left, right)
    assert dr.maximum(a, b).dtype == np.result_type(left, right)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scalar", SCALARS, ids=str)
def test_promotion_of_python_numbers_is_weak(dtype, scalar):
    want = np.result_type(np.zeros(2, dtype), scalar)
    assert (dr.zeros(2, dtype) * scalar).dtype == want
    assert (scalar * dr.zeros(2, dtype)).dtype == want
    assert (dr.zeros((), dtype) + scalar).dtype == np.result_type(np.zeros((), dtype), scalar)


def test_python_numbers_out_of_range():
    with pytest.raises(OverflowError):
        dr.zeros(2, np.uint8) + 300
    with pytest.raises(OverflowError):
        dr.zeros(2, np.float32) + 10**400
    assert np.all(np.isinf((dr.ones(2, np.float32) * 1e300).numpy()))


@pytest.mark.parametrize("name", [*ARITHMETIC, *BITWISE, "matmul"])
@pytest.mark.parametrize("left", DTYPES)
def test_in_place_operators(name, left):
    function = python_operator(f"i{name}")
    x = sample(left, (3, 3))
    for y in [*(sample(right, (3, 3), 1) for right in DTYPES), *SCALARS]:
        want, got = x.copy(), dr.array(x)
        view = got[...]
        result = outcome(function, want, y)
        answer = outcome(function, got, y)
        if isinstance(result, type):
            assert isinstance(answer, type)
            assert issubclass(answer, result)
            continue
        assert answer is got
        assert got.dtype == x.dtype
        np.testing.assert_array_equal(view.numpy(), want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["neg", "pos", "abs", "invert"])
def test_unary_operators(name, dtype):
    function = python_operator(name)
    x = sample(dtype)
    assert_same(outcome(function, dr.asarray(x)), outcome(function, x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_divmod(dtype):
    x, y = sample(dtype), sample(dtype, seed=1)
    assert_same(outcome(divmod, dr.asarray(x), y), outcome(divmod, x, y))
    assert_same(outcome(divmod, 7, dr.asarray(y)), outcome(divmod, 7, y))


SHAPES = [
    ((), ()),
    ((3,), ()),
    ((3,), (1,)),
    ((2, 1), (3,)),
    ((4, 1, 3), (2, 1)),
    ((0, 3), (3,)),
    ((1,), (0,)),
    ((5, 1), (1, 7)),
]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_broadcasting(shapes, dtype):
    x, y = sample(dtype, shapes[0]), sample(dtype, shapes[1], 1)
    for left, right in [(x, y), (y, x)]:
        assert_same(dr.asarray(left) + dr.asarray(right), np.asarray(left + right))
        assert_same(dr.subtract(left, right), np.asarray(left - right))


def layouts(x):
    """x[4, 6] in other memory orders, all of shape (4, 6)."""
    wide = np.zeros((8, 12), x.dtype)
    wide[::2, ::2] = x
    return [
        x,
        np.asfortranarray(x),
        wide[::2, ::2],
        x[::-1, ::-1][::-1, ::-1],
        x[::-1].copy()[::-1],
        x[:, ::-1].copy()[:, ::-1],
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts_do_not_matter(dtype):
    x, y = sample(dtype, (4, 6)), sample(dtype, (4, 6), 1)
    for left, right in itertools.product(layouts(x), layouts(y)):
        assert_same(dr.asarray(left) / right, x / y)
        for out in layouts(np.zeros((4, 6), dtype)):
            assert dr.multiply(left, right, out=out) is out
            np.testing.assert_array_equal(out, x * y)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))), ids=str)
def test_results_keep_the_operands_memory_order(axes):
    x = sample(np.float32, (2, 3, 4)).transpose(axes)
    a = dr.asarray(x)
    assert (-a).strides == (-x).strides
    assert (a + a).strides == (x + x).strides
    assert (a * 2).strides == (x * 2).strides
    np.testing.assert_array_equal((a * a - a).numpy(), x * x - x)
    assert (dr.asarray(x[:, ::2]) + 1).shape == x[:, ::2].shape


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", _core.unary_ops())
def test_unary_functions(name, dtype):
    x = sample(dtype)
    function = getattr(dr, name)
    ufunc = getattr(np, name, None)
    got = outcome(function, x)
    with quiet():
        exact = UNARY[name](wide(x))
    want = outcome(lambda: ufunc(x)) if ufunc else exact.astype(np.result_type(x, np.float32))
    if isinstance(want, type):
        assert issubclass(got, want)
        return
    assert isinstance(got, dr.Array)
    assert got.shape == x.shape
    assert got.dtype == WIDENED.get(want.dtype.name, want.dtype)
    if got.dtype.kind == "f":
        inside = np.isfinite(exact)
        assert np.all(ulps(got.numpy()[inside], exact[inside]) <= MAX_ULPS)
        np.testing.assert_array_equal(got.numpy()[~inside], exact[~inside])
    else:
        np.testing.assert_array_equal(got.numpy(), want)


@pytest.mark.parametrize("name", [name for name in _core.unary_ops() if hasattr(np, name)])
def test_numpy_s_functions_run_ours(name):
    a = dr.asarray(sample(np.float32))
    got = getattr(np, name)(a)
    assert isinstance(got, dr.Array)
    np.testing.assert_array_equal(got.numpy(), getattr(dr, name)(a).numpy())


def test_out_and_overlap():
    x = np.arange(1.0, 9.0, dtype=np.float32)
    a = dr.array(x)
    assert dr.add(a[:-1], a[1:], out=a[1:]) is not None
    np.testing.assert_array_equal(a.numpy(), np.r_[x[:1], x[:-1] + x[1:]])
    a = dr.array(x)
    dr.negative(a[1:], out=a[:-1])
    np.testing.assert_array_equal(a.numpy(), np.r_[-x[1:], x[-1:]])
    a = dr.array(x)
    a += a[::-1]
    np.testing.assert_array_equal(a.numpy(), x + x[::-1])
    out = dr.zeros(8, np.float64)
    assert dr.exp(x, out=out) is out  # another dtype: NumPy's casting
    np.testing.assert_array_equal(out.numpy(), np.exp(x).astype(np.float64))
    assert np.add(a, 1, out=out) is out
    plain = np.zeros(8, np.float32)
    assert np.add(a, a, out=plain) is plain
    assert dr.add(x, x, plain) is plain
    np.testing.assert_array_equal(plain, x + x)
    masked = dr.zeros(8, np.float32)
    dr.add(a, 1.0, out=masked, where=np.arange(8) < 2)
    assert masked.tolist()[2:] == [0.0] * 6


@pytest.mark.parametrize(
    ("compute", "error", "message"),
    [
        (
            lambda: dr.zeros((3, 4)) + dr.zeros(5),
            ValueError,
            r"add: a is \(3, 4\), b is \(5,\); aligned from the last axis",
        ),
        (
            lambda: dr.exp(dr.zeros(3), out=dr.zeros(4)),
            ValueError,
            r"exp: out is \(4,\), the result is \(3,\)",
        ),
        (
            lambda: dr.add(dr.zeros(3), 1.0, out=dr.zeros(4)),
            ValueError,
            r"add: out is \(4,\), the result is \(3,\)",
        ),
        (
            lambda: dr.activate([1.0], "rlu"),
            ValueError,
            r"activate: activation is 'rlu'; choose one of: linear, ",
        ),
        (
            lambda: dr.activate([1], "relu"),
            TypeError,
            r"activate: dtype is int64; the kernel takes float32 and float64",
        ),
        (
            lambda: dr.activate_grad([1.0], [1.0, 2.0], "relu"),
            ValueError,
            r"activate_grad: dy is \(1,\), x is \(2,\)",
        ),
        (lambda: dr.softmax([[1.0]], axis=2), ValueError, r"softmax: axis is 2, the array has 2 dimensions"),
        (
            lambda: dr.zeros(3, device="tpu"),
            dr.DeviceError,
            r"device is 'tpu'; this machine and build have: cpu",
        ),
        (lambda: dr.zeros((-1, 2)), ValueError, r"empty: shape is \(-1, 2\); extents must not be negative"),
        (lambda: dr.zeros((2**40, 2**40)), ValueError, r"empty: shape is .*; too large"),
        (lambda: dr.empty((1,) * 9), ValueError, r"shape: more than 8 dimensions"),
        (lambda: dr.ones(3) + "a", TypeError, None),
        (lambda: dr.ones(3) + 1j, TypeError, r"dtype is complex128; an Array has"),
    ],
)
def test_errors(compute, error, message, one_line):
    with one_line(error, message):
        compute()


def test_other_types_may_take_over():
    class Other:
        __array_ufunc__ = None

        def __radd__(self, other):
            return "radd"

    class Overriding:
        def __array_ufunc__(self, *args, **options):
            return "ufunc"

    assert dr.ones(3) + Other() == "radd"
    assert np.add(dr.ones(3), Overriding()) == "ufunc"
    with pytest.raises(TypeError):
        dr.ones(3) + object()


def test_ufunc_methods_and_several_outputs():
    a = dr.array(sample(np.float32))
    x = a.numpy().copy()
    assert_same(np.add.reduce(a), np.add.reduce(x))
    assert_same(np.multiply.outer(a[0], a[1]), np.multiply.outer(x[0], x[1]))
    assert_same(np.frexp(a), np.frexp(x))
    out = (dr.zeros((3, 4), np.float32), dr.zeros((3, 4), np.float32))
    assert np.modf(a, out=out)[0] is out[0]
    np.add.at(a, ([0, 0], [1, 1]), 1)
    assert a[0, 1] == x[0, 1] + 2


def test_threads_compute_at_once():
    """The GIL is released and taken back without harm."""
    a = dr.asarray(sample(np.float32, (300, 300)))
    want = (a @ a + dr.exp(-a)).numpy()
    failures = []

    def work():
        for _ in range(10):
            if not np.array_equal((a @ a + dr.exp(-a)).numpy(), want):
                failures.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
