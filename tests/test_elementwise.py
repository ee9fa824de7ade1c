"""unary, binary, activate, copy, gather_rows: sizes, starts, strides, aliasing, threads."""

from __future__ import annotations

import itertools

import kernel_cases as cases
import numpy as np
import pytest
import reference
import tolerance
from deltarule import _core

kernels = _core.kernels


def inputs(name, shape, dtype):
    low, high = (0.1, 3.0) if name in ("log", "sqrt", "log1p") else (-3.0, 3.0)
    return np.random.default_rng(3).uniform(low, high, shape).astype(dtype)


def check_unary(name, x, y):
    with reference.quiet():
        want = reference.UNARY[name](reference.wide(x))
    assert np.all(tolerance.ulps(y, want) <= tolerance.UNARY_ULPS[name][2])


def check_binary(name, a, b, y):
    """The five operations are IEEE's: exactly rounded."""
    with reference.quiet():
        want = reference.BINARY[name](a, b)
    assert y.dtype == want.dtype
    assert np.array_equal(y, want, equal_nan=True)


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", kernels.unary_names)
def test_unary_sizes_and_starts(isa, name, dtype):
    for n, start in itertools.product(cases.SIZES, cases.STARTS):
        x = cases.moved(inputs(name, n, dtype), start)
        y = cases.Guarded(n, dtype, (start * 2) % 5)
        kernels.unary(name, x, y.array)
        check_unary(name, x, y.check())


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", kernels.binary_names)
def test_binary_sizes_and_starts(isa, name, dtype):
    for n, start in itertools.product(cases.SIZES, cases.STARTS):
        a, b = cases.moved(inputs(name, n, dtype), start), cases.moved(inputs(name, n, dtype)[::-1], 1)
        y = cases.Guarded(n, dtype, (start * 2) % 5)
        kernels.binary(name, a, b, y.array)
        check_binary(name, a, b, y.check())


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", kernels.binary_names)
def test_binary_special_values(isa, name, dtype):
    limits = np.finfo(dtype)
    x = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, limits.max, limits.smallest_subnormal], dtype)
    a, b = (np.ascontiguousarray(v) for v in np.meshgrid(x, x))
    y = np.full_like(a, 99)
    kernels.binary(name, a, b, y)
    check_binary(name, a, b, y)


def views():
    """(name, function making the view of a [6, 7, 1100] array): what walks need to get right."""
    return {
        "contiguous": lambda v: v,
        "reversed rows": lambda v: v[:, :, ::-1],
        "every third": lambda v: v[:, :, ::3],
        "reversed slabs": lambda v: v[::-1, ::-2],
        "transposed": lambda v: v.transpose(2, 1, 0),
        "middle last": lambda v: v.transpose(0, 2, 1),
        "one column": lambda v: v[:, :, 5],
        "one row": lambda v: v[2, 3],
        "scalar": lambda v: v[1:2, 2, 3].reshape(()),
        "empty": lambda v: v[:, 3:3],
        "ones": lambda v: v[:, None, :, None, :1, None],
        "rank 8": lambda v: v.reshape(3, 2, 7, 4, 5, 5, 1, 11).transpose(7, 0, 3, 2, 1, 6, 5, 4),
        "row broadcast": lambda v: np.broadcast_to(v[0, 0], v.shape),
        "column broadcast": lambda v: np.broadcast_to(v[:, :, :1], v.shape),
        "scalar broadcast": lambda v: np.broadcast_to(v[0, 0, 0], v.shape),
        "outer broadcast": lambda v: np.broadcast_to(v[:1, :, :], v.shape),
    }


@pytest.mark.sanitize
@pytest.mark.parametrize("view", views())
def test_strided_grids(isa, view):
    """Inputs and outputs of every layout; what the view leaves out stays untouched."""
    x = inputs("add", (6, 7, 1100), np.float32)
    b = np.roll(x, 3)
    take = views()[view]
    source, other = take(x), take(b)
    y = cases.Guarded(source.shape, np.float32)
    kernels.unary("square", source, y.array)
    assert np.array_equal(y.check(), source * source)
    y = cases.Guarded(source.shape, np.float32)
    kernels.binary("subtract", source, other, y.array)
    assert np.array_equal(y.check(), source - other)
    wide = cases.Guarded(source.shape, np.float64)
    kernels.copy(source, wide.array)
    assert np.array_equal(wide.check(), source)
    if "broadcast" in view:
        return
    for slot in ("unary", "binary", "copy", "convert"):
        whole = np.full(x.shape, np.nan, np.float64 if slot == "convert" else np.float32)
        target = take(whole)
        assert np.shares_memory(target, whole) or not target.size
        packed = source.copy(order="C")
        if slot == "unary":
            kernels.unary("negative", packed, target)
            want = -packed
        elif slot == "binary":
            kernels.binary("add", packed, packed, target)
            want = packed + packed
        else:
            kernels.copy(packed, target)
            want = packed
        assert np.array_equal(target, want)
        assert np.count_nonzero(~np.isnan(whole)) == target.size


def test_an_output_may_be_an_input(isa):
    for view in (lambda v: v, lambda v: v[::2, ::-1], lambda v: v.T):
        x = inputs("add", (50, 700), np.float64)
        want = view(x) * view(x)
        kernels.unary("square", view(x), view(x))
        assert np.array_equal(view(x), want)
        want = view(x) - 1
        kernels.binary("subtract", view(x), np.broadcast_to(np.float64(1), want.shape), view(x))
        assert np.array_equal(view(x), want)
    x = inputs("add", 1000, np.float32)
    y = np.empty_like(x)
    kernels.activate("gelu", x, y)
    kernels.activate("gelu", x, x)
    assert cases.bits(x) == cases.bits(y)
    dy = inputs("add", 1000, np.float32)
    dx = np.empty_like(x)
    kernels.activate_grad("tanh", dy, None, y, dx)
    kernels.activate_grad("tanh", dy, None, y, dy)
    assert cases.bits(dy) == cases.bits(dx)


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", kernels.activation_names)
def test_activate_sizes_and_starts(isa, name, dtype):
    for n, start in itertools.product(cases.SIZES, cases.STARTS):
        x, dy = inputs("tanh", (2, n), dtype)
        x, dy = cases.moved(x, start), cases.moved(dy, 1)
        y, dx = cases.Guarded(n, dtype, 3 - start), cases.Guarded(n, dtype, start)
        kernels.activate(name, x, y.array, 0.25)
        f = reference.activation(name, x, 0.25)
        assert np.all(tolerance.ulps(y.check(), f) <= tolerance.ACTIVATION_ULPS[name][0])
        kernels.activate_grad(name, dy, x, y.array, dx.array, 0.25)
        df = reference.activation_derivative(name, x, 0.25)
        bound = (
            (tolerance.ACTIVATION_ULPS[name][1] + 1)
            * np.finfo(dtype).eps
            * np.abs(dy)
            * np.maximum(1, np.abs(df))
        )
        cases.within(dx.check(), dy * df, bound)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_the_same_bits_for_every_number_of_threads(isa, threads, dtype):
    n = 300_007
    x, other = inputs("add", (2, n), dtype)
    square = x[: 500 * 600].reshape(500, 600)
    index = np.random.default_rng(2).integers(0, 500, 900)

    def everything():
        out = []
        for make in (
            lambda y: kernels.unary("tanh", x, y),
            lambda y: kernels.unary("square", x, y),
            lambda y: kernels.binary("divide", x, other, y),
            lambda y: kernels.activate("elu", x, y, 1.0),
            lambda y: kernels.activate_grad("gelu", other, x, x, y),
            lambda y: kernels.dropout(x, y, 0.3, 5, 6),
        ):
            y = np.full_like(x, np.nan)
            make(y)
            out.append(cases.bits(y))
        y = np.full((600, 500), np.nan, dtype)
        kernels.unary("exp", square.T, y)
        out.append(cases.bits(y))
        kernels.copy(square.T, y)
        out.append(cases.bits(y))
        y = np.full((900, 600), np.nan, dtype)
        kernels.gather_rows(square, index, None, None, y)
        out.append(cases.bits(y))
        assert np.array_equal(y, square[index])
        return out

    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(everything())
    assert results[0] == results[1] == results[2]
    y = np.full_like(x, np.nan)
    kernels.unary("tanh", x, y)
    check_unary("tanh", x, y)


@pytest.mark.parametrize("to", cases.DTYPES)
@pytest.mark.parametrize("source", [np.uint8, np.float32, np.float64])
def test_gather_rows(isa, source, to):
    for cols in [n for n in cases.SIZES if n < 40] + [784]:
        table = np.random.default_rng(cols).integers(0, 256, (9, cols + 2)).astype(source)
        x = table[:, 1 : 1 + cols]
        index = np.array([8, 0, 3, 3, 7], np.int64)
        shift, scale = np.random.default_rng(1).standard_normal((2, cols)).astype(to)
        y = cases.Guarded((5, cols), to, 1)
        kernels.gather_rows(x, index, shift, scale, y.array)
        assert np.array_equal(y.check(), (x[index].astype(to) - shift) * scale)
        y = cases.Guarded((9, cols), to, 3)
        kernels.gather_rows(x, None, None, None, y.array)
        assert np.array_equal(y.check(), x.astype(to))


ALL = [np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_]


@pytest.mark.sanitize
@pytest.mark.parametrize("to", ALL)
@pytest.mark.parametrize("source", ALL)
def test_copy_converts_as_numpy(source, to):
    values = np.array([0, 1, 2, 100, 255, 3.7, 2.2, 0.4, 17.9] * 4)
    if np.dtype(source).kind != "u" and np.dtype(to).kind != "u":
        values = np.concatenate([values, -values])
    if np.dtype(source).kind == "i":
        values = np.concatenate([values, np.array([2**31 - 1, -(2**31)])])
    x = values.astype(source)
    for view, start in itertools.product(
        (lambda v: v, lambda v: v[::-1], lambda v: v[::3], lambda v: v[:0]), (0, 1)
    ):
        from_ = view(cases.moved(x, start))
        y = cases.Guarded(from_.shape, to, start)
        kernels.copy(from_, y.array)
        assert np.array_equal(y.check(), from_.astype(to))
        twice = np.zeros(2 * len(from_), to)
        kernels.copy(from_, twice[::2])
        assert np.array_equal(twice[::2], from_.astype(to))
        assert not twice[1::2].any()


def test_copy_of_what_does_not_fit():
    x = np.array([np.nan, np.inf, -np.inf, 3e9, -3e9, 1e30, 300.7, -1.5])
    for source in cases.DTYPES:
        y = np.empty(8, np.int32)
        kernels.copy(x.astype(source), y)
        low = -(2**31)
        assert y.tolist() == [low, low, low, low, low, low, 300, -1]
        y = np.empty(8, np.int64)
        kernels.copy(x.astype(source), y)
        low = -(2**63)
        assert y.tolist() == [low, low, low, int(3e9), int(-3e9), low, 300, -1]
        y = np.empty(8, np.uint8)
        kernels.copy(x.astype(source), y)
        assert y.tolist() == [0, 0, 0, int(3e9) % 256, int(-3e9) % 256, 0, 44, 255]
        y = np.empty(8, np.bool_)
        kernels.copy(x.astype(source), y)
        assert y.all()
    y = np.empty(2, np.float32)
    kernels.copy(np.array([1e300, -1e300]), y)
    assert y.tolist() == [np.inf, -np.inf]
    kernels.copy(np.array([5, 0], np.uint8).view(np.bool_), y)  # a byte that is neither 0 nor 1
    assert y.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8])
def test_copy_of_transposes(dtype, threads):
    """Tiles: every remainder of their sides, padded rows, misaligned starts, more axes, threads."""
    rng = np.random.default_rng(5)
    shapes = [(r, c) for r in (1, 3, 4, 5, 17, 63, 64, 65, 130) for c in (1, 2, 4, 7, 16, 18, 33)]
    for shape in [*shapes, (3, 70, 9), (2, 5, 6, 7), (400, 500)]:
        padded = rng.integers(0, 100, (*shape[:-1], shape[-1] + 3)).astype(dtype)
        x = cases.moved(padded, 1)[..., 1:-2]
        for axes in itertools.permutations(range(len(shape))):
            from_ = x.transpose(axes)
            y = cases.Guarded(from_.shape, dtype, 1)
            kernels.copy(from_, y.array)
            assert np.array_equal(y.check(), from_)
    for n in (1, 2):
        threads(n)
        y = np.empty((500, 400), dtype)
        kernels.copy(np.ascontiguousarray(x).T, y)
        assert np.array_equal(y, x.T)


def test_outputs_larger_than_the_caches(isa, threads):
    """Stored past the caches: every element, also of a misaligned output, and in place."""
    n = (1 << 23) + 5
    x = np.random.default_rng(6).normal(size=n).astype(np.float32)
    for count in (1, 2):
        threads(count)
        for start in (0, 1):
            y = cases.Guarded((n,), np.float32, start)
            kernels.unary("negative", x, y.array)
            assert np.array_equal(y.check(), -x)
            y = cases.Guarded((n,), np.float32, start)
            kernels.activate("relu", x, y.array)
            assert np.array_equal(y.check(), np.maximum(x, 0))
            y = cases.Guarded((n,), np.float32, start)
            kernels.binary("add", x, x, y.array)
            assert np.array_equal(y.check(), x + x)
        y = x.copy()
        kernels.binary("multiply", y, y, y)
        assert np.array_equal(y, x * x)
        y = x.copy()
        kernels.unary("square", y, y)
        assert np.array_equal(y, x * x)
        y = x.copy()
        kernels.activate("relu", y, y)
        assert np.array_equal(y, np.maximum(x, 0))
