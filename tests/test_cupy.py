"""Arrays on a GPU against CuPy, and memory shared with it, PyTorch and JAX: both ways, in stream order, kept alive."""

from __future__ import annotations

import gc
import os
import warnings

import deltarule as dr
import numpy as np
import pytest
import tolerance
from conftest import GPUS
from deltarule import _core, cuda

if not GPUS:
    pytest.skip("no GPU", allow_module_level=True)
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else JAX takes most of the memory
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    cupy = pytest.importorskip("cupy", reason="no CuPy")
    if not cupy.cuda.is_available():
        pytest.skip("CuPy finds no GPU", allow_module_level=True)

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]
DTYPES = ["float32", "float64"]
EVERY_DTYPE = ["float32", "float64", "int32", "int64", "uint8", "bool"]
VIEWS = {
    "whole": lambda x: x,
    "transposed": lambda x: x.T,
    "every other": lambda x: x[::2, 1::3],
    "backwards": lambda x: x[::-1],
    "column": lambda x: x[:, 2],
    "stretched": lambda x: cupy.broadcast_to(x[:1], x.shape) if isinstance(x, cupy.ndarray) else None,
}
MANY = 1 << 24  # elements that keep a GPU busy for longer than it takes to queue the next piece of work
TIMES = 60


def normal(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def back(x):
    return x.to("cpu").numpy() if isinstance(x, dr.Array) else x.get()


def both(x):
    """The same values as our Array and as CuPy's, in memory of their own."""
    return dr.asarray(x, device="cuda"), cupy.asarray(x)


def exact(x):
    """CuPy's, in float64."""
    return cupy.asarray(x).astype(cupy.float64)


def assert_equal(got, want):
    """Ours and CuPy's agree in dtype, shape and every bit of the values; NaN is NaN."""
    got, want = back(got), back(want)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    np.testing.assert_array_equal(got, want)


# Operations.

SMALL = [(1, 1, 1), (33, 70, 40), (128, 500, 256), (1, 841, 1000), (512, 64, 10)]  # M, K, N
LARGE = [(1025, 2051, 1028), (2056, 2052, 2064)] if not dr.info()["cuda"]["emulated"] else []

CUPY_UNARY = {"sigmoid": lambda x: 1 / (1 + cupy.exp(-x))}


def cupy_unary(name):
    if name == "erf":
        from cupyx.scipy.special import erf

        return erf
    return CUPY_UNARY.get(name) or getattr(cupy, name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", _core.unary_ops())
def test_unary(name, dtype):
    low, high = tolerance.UNARY_ULPS[name][DTYPES.index(dtype)]
    bound = tolerance.UNARY_ULPS[name][2] + (4 if dtype == "float64" else 0)  # CuPy's own error there
    x = np.random.default_rng(1).uniform(max(low, -60), min(high, 60), (37, 41)).astype(dtype)
    x = x.clip(1e-3) if name in ("log", "sqrt") else x.clip(-0.999) if name == "log1p" else x
    a = dr.asarray(x, device="cuda")
    want = back(cupy_unary(name)(exact(x)))
    for got, expected in (
        (getattr(dr, name)(a), want),
        (getattr(dr, name)(a.T[::-1, ::2]), want.T[::-1, ::2]),
    ):
        assert got.device == "cuda:0"
        assert np.all(tolerance.ulps(back(got), expected) <= bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", _core.binary_ops())
def test_binary(name, dtype):
    (a, x), (b, y) = both(normal(5, 7, 33, dtype=dtype)), both(normal(7, 33, dtype=dtype, seed=1))
    ours, theirs = getattr(dr, name), getattr(cupy, name)
    assert_equal(ours(a, b), theirs(x, y))
    assert_equal(ours(a[:, :, 1:], b[::-1, :1]), theirs(x[:, :, 1:], y[::-1, :1]))
    assert_equal(ours(b.T, b.T[::-1]), theirs(y.T, y.T[::-1]))
    assert_equal(ours(a, 3), theirs(x, 3))
    out = dr.empty_like(a)
    assert ours(a, b, out=out) is out
    assert_equal(out, theirs(x, y))


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_nan_wins(name):
    values = np.array([1, np.nan, 2, np.inf, -np.inf, -0.0], np.float32)
    (a, x), (b, y) = both(values), both(values[::-1].copy())
    assert_equal(getattr(dr, name)(a, b), getattr(cupy, name)(x, y))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [None, 0, 1, 2, (0, 2), (0, 1, 2)])
def test_reductions(axis, dtype):
    a, x = both(normal(6, 35, 11, dtype=dtype))
    for name in ("max", "min"):
        assert_equal(getattr(dr, name)(a, axis=axis), getattr(cupy, name)(x, axis=axis))
    wide = exact(x)
    size = back(cupy.abs(wide).sum(axis=axis))
    tolerance.assert_within(
        back(dr.sum(a, axis=axis)), back(wide.sum(axis=axis)), tolerance.rounded(40, size, dtype)
    )
    mean = back(cupy.abs(wide).mean(axis=axis))
    tolerance.assert_within(
        back(dr.mean(a, axis=axis)), back(wide.mean(axis=axis)), tolerance.rounded(40, mean, dtype)
    )
    factors, theirs = both((1 + 0.1 * normal(6, 35, 11)).astype(dtype))
    want = back(exact(theirs).prod(axis=axis))
    tolerance.assert_within(
        back(dr.prod(factors, axis=axis)), want, 2 * tolerance.product(want, 6 * 35 * 11, dtype)
    )
    if not isinstance(axis, tuple):
        for name in ("argmax", "argmin"):
            assert_equal(getattr(dr, name)(a, axis=axis), getattr(cupy, name)(x, axis=axis))


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize("layout", ["NN", "NT", "TN", "TT"])
@pytest.mark.parametrize("shape", [*SMALL, *LARGE])
def test_matmul(shape, layout, precision):
    m, k, n = shape
    left = normal(*((k, m) if layout[0] == "T" else (m, k)))
    right = normal(*((n, k) if layout[1] == "T" else (k, n)), seed=1)
    (a, x), (b, y) = both(left), both(right)
    a, x, left = (z.T if layout[0] == "T" else z for z in (a, x, left))
    b, y, right = (z.T if layout[1] == "T" else z for z in (b, y, right))
    want = back(cupy.matmul(exact(x), exact(y)))
    bound = tolerance.gemm(left.astype(float), right.astype(float), k, np.float32, want, precision)
    tolerance.assert_within(back(dr.matmul(a, b, precision=precision)), want, bound)


def test_matmul_with_leading_axes_and_in_float64():
    (a, x), (b, y) = (
        both(normal(4, 1, 9, 17, dtype="float64")),
        both(normal(3, 17, 5, dtype="float64", seed=1)),
    )
    got, want = back(a @ b), back(cupy.matmul(x, y))
    bound = 2 * tolerance.gemm(np.abs(back(x)), np.abs(back(y)), 17, np.float64, want)
    tolerance.assert_within(got, want, bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(37, 10), (3, 1003), (2, 3, 50)])
def test_softmax(shape, dtype):
    x = (5 * normal(*shape)).astype(dtype)
    wide = exact(x)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    log = shifted - cupy.log(cupy.exp(shifted).sum(axis=-1, keepdims=True))
    a = dr.asarray(x, device="cuda")
    for function, want, is_log in (
        (dr.softmax, back(cupy.exp(log)), False),
        (dr.log_softmax, back(log), True),
    ):
        bound = 2 * tolerance.softmax(want, shape[-1], dtype, log=is_log)
        tolerance.assert_within(back(function(a)), want, bound)


@pytest.mark.parametrize("target", EVERY_DTYPE)
@pytest.mark.parametrize("source", EVERY_DTYPE)
def test_astype(source, target):
    a, x = both((50 * np.abs(normal(13, 17))).astype(source))
    assert_equal(a.astype(target), x.astype(target))
    assert_equal(a.T[::2].astype(target), x.T[::2].astype(target))


def test_writing_through_views():
    a, x = both(normal(9, 12))
    for key in (0, (slice(None), 2), (slice(1, 7, 2), slice(None, None, -3)), (..., 5), slice(None)):
        a[key] = a[key] * 2 + 1
        x[key] = x[key] * 2 + 1
        assert_equal(a, x)


# Shared memory.


def ours_of_cupy(x):
    """Every way from CuPy's array to ours."""
    return {"asarray": dr.asarray(x), "from_dlpack": dr.from_dlpack(x)}


def cupy_of_ours(a):
    return {"asarray": cupy.asarray(a), "from_dlpack": cupy.from_dlpack(a)}


def settle():
    """Both libraries have done what they were asked: after the exchange, order is the user's."""
    cuda.synchronize()
    cupy.cuda.Device().synchronize()


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
@pytest.mark.parametrize("view", VIEWS)
def test_cupy_s_memory(view, dtype):
    x = VIEWS[view](cupy.asarray((10 * normal(6, 8)).astype(dtype)))
    for way, a in ours_of_cupy(x).items():
        assert (a.device, a.dtype, a.shape) == ("cuda:0", x.dtype, x.shape), way
        assert a.strides == x.strides, way
        assert_equal(a, x)
        assert a.__cuda_array_interface__["data"][0] == x.data.ptr, way
    if view == "stretched":
        return
    a = dr.asarray(x)
    a[...] = 1
    settle()
    assert bool((x == 1).all())
    x[...] = 0
    settle()
    assert not back(a).any()


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
@pytest.mark.parametrize("view", [view for view in VIEWS if view != "stretched"])
def test_our_memory(view, dtype):
    a = VIEWS[view](dr.asarray((10 * normal(6, 8)).astype(dtype), device="cuda"))
    for way, x in cupy_of_ours(a).items():
        assert (x.dtype, x.shape, x.strides) == (a.dtype, a.shape, a.strides), way
        assert_equal(a, x)
        x[...] = 1
        settle()
        assert np.all(back(a) == 1), way
        a[...] = 0
        settle()
        assert not bool(x.any()), way


def test_empty_arrays():
    assert dr.asarray(cupy.zeros((0, 3), cupy.float32)).shape == (0, 3)
    assert cupy.asarray(dr.zeros((0, 3), "float32", device="cuda")).shape == (0, 3)


def test_functions_take_cupy_s_arrays():
    x = cupy.asarray(normal(4, 5))
    a = dr.asarray(x)
    assert_equal(dr.add(a, dr.asarray(x)), x + x)
    out = cupy.zeros_like(x)
    dr.multiply(a, a, out=dr.asarray(out))
    settle()
    assert_equal(out, x * x)


def test_the_stream_of_the_producer_comes_first():
    """What CuPy queued on a stream of its own before the exchange is seen by what we queue after it."""
    for way in ("asarray", "from_dlpack"):
        with cupy.cuda.Stream(non_blocking=True):
            x = cupy.zeros(MANY, cupy.float32)
            for _ in range(TIMES):
                x += 1
            a = getattr(dr, way)(x)
            b = a + 1
        assert np.all(back(b) == TIMES + 1), way
        settle()


def test_the_stream_of_the_consumer_comes_later():
    """What we queued before the exchange is seen by what CuPy queues on a stream of its own after it."""
    for way in ("asarray", "from_dlpack"):
        a = dr.zeros(MANY, "float32", device="cuda")
        settle()
        with cupy.cuda.Stream(non_blocking=True) as stream:
            for _ in range(TIMES):
                a += 1
            x = getattr(cupy, way)(a)
            y = x + 1
            stream.synchronize()
            assert bool((y == TIMES + 1).all()), way
        settle()


def test_memory_is_not_used_again_before_its_reader_is_done():
    """Ours is given back while CuPy still reads it; the next Array may get the same memory, and only afterwards."""
    stream = cupy.cuda.Stream(non_blocking=True)
    for _ in range(3):
        a = dr.full(MANY, 3, "float32", device="cuda")
        with stream:
            x = cupy.from_dlpack(a)
            y = x + 1
            for _ in range(TIMES):
                y += x
            del x, a
        gc.collect()
        b = dr.full(MANY, 9, "float32", device="cuda")
        stream.synchronize()
        assert bool((y == 4 + 3 * TIMES).all())
        assert np.all(back(b) == 9)
        del b, y


def test_the_producer_may_go_first():
    x = cupy.arange(1000, dtype=cupy.float32)
    shared = ours_of_cupy(x)
    del x
    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
    others = [cupy.full(1000, 7, cupy.float32) for _ in range(20)]
    for way, a in shared.items():
        assert np.array_equal(back(a), np.arange(1000)), way
    a = dr.asarray(np.arange(1000, dtype=np.float32), device="cuda")
    shared = cupy_of_ours(a)
    del a
    gc.collect()
    cuda.release_cached()
    others += [dr.full(1000, 7, "float32", device="cuda") for _ in range(20)]
    settle()
    for way, x in shared.items():
        assert np.array_equal(x.get(), np.arange(1000)), way


def test_nothing_is_kept_for_ever():
    a = dr.zeros(1 << 20, "float32", device="cuda")
    x = cupy.zeros(1 << 20, cupy.float32)

    def exchange():
        for _ in range(20):
            cupy_of_ours(a)
            ours_of_cupy(x)
            cupy.asarray(a + 1)
        gc.collect()
        settle()

    exchange()
    used, theirs = cuda.memory().used, cupy.get_default_memory_pool().used_bytes()
    exchange()
    assert cuda.memory().used == used
    assert cupy.get_default_memory_pool().used_bytes() == theirs


def test_cupy_s_read_only_memory_stays_so():
    x = cupy.zeros(5, cupy.float32)

    class Frozen:
        def __init__(self):
            description = dict(x.__cuda_array_interface__)
            description["data"] = (description["data"][0], True)
            self.__cuda_array_interface__ = description

    a = dr.asarray(Frozen())
    assert not a.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        a[0] = 1


# PyTorch and JAX.


@pytest.fixture
def torch():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("torch", reason="no PyTorch")
        if not module.cuda.is_available():
            pytest.skip("PyTorch finds no GPU")
    return module


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
def test_torch_both_ways(torch, dtype):
    a = dr.asarray((10 * normal(6, 8)).astype(dtype), device="cuda")
    for x in (torch.from_dlpack(a), torch.as_tensor(a, device="cuda"), torch.from_dlpack(a.T).T):
        assert np.array_equal(x.cpu().numpy(), back(a))
        x[0, 0] = 1
        torch.cuda.synchronize()
        assert back(a)[0, 0] == 1
        a[0, 0] = 0
        cuda.synchronize()
        assert x[0, 0].item() == 0
    x = torch.from_numpy((10 * normal(6, 8)).astype(dtype)).cuda()
    for b in (dr.asarray(x), dr.from_dlpack(x), dr.from_dlpack(x.T).T):
        assert b.device == "cuda:0"
        assert np.array_equal(back(b), x.cpu().numpy())
    del x
    gc.collect()
    torch.cuda.empty_cache()
    assert back(b).shape == (6, 8)


def test_torch_s_streams(torch):
    with torch.cuda.stream(torch.cuda.Stream()):
        x = torch.zeros(MANY, device="cuda")
        for _ in range(TIMES):
            x += 1
        b = dr.from_dlpack(x) + 1
        assert np.all(back(b) == TIMES + 1)
        a = dr.zeros(MANY, "float32", device="cuda")
        for _ in range(TIMES):
            a += 1
        assert bool((torch.from_dlpack(a) + 1 == TIMES + 1).all())
    torch.cuda.synchronize()


@pytest.fixture
def jax():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("jax", reason="no JAX")
        pytest.importorskip("jax.dlpack", reason="no JAX")
        try:
            module.devices("gpu")
        except RuntimeError:
            pytest.skip("JAX finds no GPU")
    return module


def test_jax_both_ways(jax):
    a = dr.asarray(normal(6, 8), device="cuda")
    for _ in range(TIMES):
        a += 1
    x = jax.dlpack.from_dlpack(a)
    assert np.array_equal(np.asarray(x + 1), back(a) + 1)
    y = jax.jit(lambda x: (x @ x.T).sum(0))(x)
    b = dr.from_dlpack(y)
    assert b.device == "cuda:0"
    assert np.array_equal(back(b), np.asarray(y))
    del y
    gc.collect()
    assert back(b + b).shape == (6,)
