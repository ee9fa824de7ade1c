"""Arrays on a GPU: made, moved, computed with, refused."""

from __future__ import annotations

import pickle

import deltarule as dr
import numpy as np
import pytest
import reference
import tolerance
from conftest import GPUS
from deltarule import _core

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPUS, reason="no GPU")]
RNG = np.random.default_rng(3)
X = RNG.standard_normal((5, 7)).astype(np.float32)
Y = RNG.standard_normal((5, 7)).astype(np.float32)


def gpu(x):
    return dr.asarray(x, device="cuda")


def back(x):
    return x.to("cpu").numpy()


def assert_same(got, want):
    """On the GPU, and NumPy's result to the bit."""
    assert got.device == "cuda:0"
    here, want = back(got), np.asarray(want)
    assert (here.dtype, here.shape) == (want.dtype, want.shape)
    assert here.tobytes() == np.ascontiguousarray(want).tobytes()


class TestMaking:
    @pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8", "bool"])
    def test_there_and_back(self, dtype):
        for x in (np.zeros(()), X, X.T, X[::-2, ::3], X[:0], np.broadcast_to(X[0], (3, 7))):
            x = x.astype(dtype) if dtype != "bool" else x > 0
            a = gpu(x)
            assert (a.shape, a.dtype, a.device) == (x.shape, x.dtype, "cuda:0")
            assert_same(a, x)

    def test_functions(self):
        assert_same(dr.zeros((3, 4), device="cuda"), np.zeros((3, 4)))
        assert_same(dr.ones(5, "int64", device="cuda"), np.ones(5, np.int64))
        assert_same(dr.full((2, 3), 7, "uint8", device="cuda"), np.full((2, 3), 7, np.uint8))
        assert_same(dr.full((2,), 0.1, "float32", device="cuda:0"), np.full(2, 0.1, np.float32))
        assert_same(dr.arange(10, device="cuda"), np.arange(10))
        assert_same(dr.eye(3, device="cuda"), np.eye(3))
        assert_same(dr.zeros_like(gpu(X)), np.zeros_like(X))
        assert_same(dr.full_like(gpu(X), 3), np.full_like(X, 3))
        assert dr.empty_like(gpu(X)).device == "cuda:0"

    def test_asarray_leaves_an_array_where_it_is(self):
        a = gpu(X)
        assert dr.asarray(a) is not None
        assert dr.asarray(a).device == "cuda:0"
        dr.asarray(a)[0, 0] = 99  # the same memory
        assert back(a)[0, 0] == 99
        assert dr.asarray(a, device="cpu").device == "cpu"
        assert dr.array(a, "float64").dtype == np.float64
        with pytest.raises(ValueError, match="copy is False"):
            dr.asarray(a, copy=False, device="cpu")

    def test_to_itself_is_itself(self):
        a = gpu(X)
        b = a.to("cuda")
        b[0, 0] = 5
        assert back(a)[0, 0] == 5
        assert a.to_device("cpu").device == "cpu"

    def test_random_numbers_are_the_cpu_s(self):
        for dtype in (np.float32, np.float64):
            here, there = np.empty(1003, dtype), dr.empty(1003, dtype, device="cuda")
            for fill, bounds in ((_core.fill_uniform, (-0.5, 2.0)), (_core.fill_normal, (1.0, 3.0))):
                fill(here, 7, 5, *bounds)
                fill(there, 7, 5, *bounds)
                assert_same(there, here)
        for n in (0, 1, 2, 1000, 5003):
            assert_same(_core.permutation(n, 3, 9, "cuda:0"), np.asarray(_core.permutation(n, 3, 9)))


class TestComputing:
    def test_arithmetic(self):
        a, b = gpu(X), gpu(Y)
        assert_same(a + b, X + Y)
        assert_same(a - b[0], X - Y[0])
        assert_same(2 * a, 2 * X)
        assert_same(a / b.T.T, X / Y)
        assert_same(1 - a.T, 1 - X.T)
        assert_same(-a, -X)
        assert_same(abs(a), abs(X))
        assert_same(dr.maximum(a, b[:, :1]), np.maximum(X, Y[:, :1]))
        assert_same(
            gpu(np.arange(3)) + gpu(X[:3, 0].astype(np.float64)), np.arange(3) + X[:3, 0].astype(float)
        )
        a += 1
        a *= b
        assert_same(a, (X + 1) * Y)

    def test_out(self):
        a, b, out = gpu(X), gpu(Y), dr.empty_like(gpu(X))
        assert dr.add(a, b, out=out) is out
        assert_same(out, X + Y)

    @pytest.mark.parametrize("name", _core.unary_ops())
    def test_unary(self, name):
        x = np.abs(X) if name in ("sqrt", "log", "log1p") else X
        got = back(getattr(dr, name)(gpu(x)))
        exact = reference.UNARY[name](x.astype(np.longdouble))
        assert np.all(tolerance.ulps(got, exact) <= tolerance.UNARY_ULPS[name][2])

    def test_reductions(self):
        a, wide = gpu(X), X.astype(np.float64)
        for axis in (None, 0, 1, (0, 1)):
            tolerance.assert_within(
                back(a.sum(axis)), wide.sum(axis), tolerance.rounded(40, np.abs(wide).sum(axis), np.float32)
            )
            assert_same(a.max(axis), X.max(axis))
            assert_same(dr.min(a, axis), X.min(axis))
        assert_same(a.argmax(1), X.argmax(1))
        assert_same(a.T.argmin(0), X.T.argmin(0))
        tolerance.assert_within(
            float(a.mean()), wide.mean(), tolerance.rounded(40, np.abs(wide).mean(), np.float32)
        )

    @pytest.mark.parametrize("precision", ["highest", "high", "medium"])
    def test_matmul(self, precision):
        a, b = RNG.standard_normal((3, 33, 70)), RNG.standard_normal((70, 40))
        single = [x.astype(np.float32) for x in (a, b)]
        wide = [x.astype(np.float64) for x in single]
        exact = wide[0] @ wide[1]
        got = dr.matmul(gpu(single[0]), gpu(single[1]), precision=precision)
        tolerance.assert_within(
            back(got), exact, tolerance.gemm(wide[0], wide[1], 70, np.float32, exact, precision)
        )
        flipped = dr.matmul(gpu(single[1].T), gpu(single[0][0].T), precision=precision)
        exact = wide[1].T @ wide[0][0].T
        tolerance.assert_within(
            back(flipped), exact, tolerance.gemm(wide[1].T, wide[0][0].T, 70, np.float32, exact, precision)
        )

    def test_softmax_and_activations(self):
        a = gpu(X)
        exact = reference.softmax(X)
        tolerance.assert_within(
            back(dr.softmax(a)),
            exact.astype(np.float64),
            tolerance.softmax(exact.astype(np.float64), 7, np.float32, log=False),
        )
        assert_same(dr.activate(a, "relu"), np.where(X < 0, 0, X))
        assert_same(dr.activate_grad(gpu(Y), a, "relu"), Y * (X > 0))


class TestViews:
    def test_indexing(self):
        a = gpu(X)
        for key in (
            0,
            -1,
            (1, 2),
            slice(1, 4),
            (slice(None), 3),
            (slice(None, None, -2), None),
            ...,
            (0, ...),
        ):
            assert_same(a[key], X[key])
        assert len(a) == 5
        assert_same(a.reshape(7, 5), X.reshape(7, 5))
        assert_same(a.T.reshape(5, 7), X.T.reshape(5, 7))
        assert_same(dr.expand_dims(a, 1).squeeze(), X)

    def test_writing(self):
        x, a = X.copy(), gpu(X)
        column = [[1], [2], [3], [4], [5]]
        thirds = (..., slice(None, None, 3))
        for key, value in ((0, 1.0), ((slice(None), 2), X[:, 0]), (slice(1, 3), 7), (thirds, column)):
            x[key] = value
            a[key] = value
            assert_same(a, x)
        a[2] = a[3]
        a[...] = a[::-1]  # overlapping
        x[2] = x[3]
        x[...] = x[::-1].copy()
        assert_same(a, x)
        here = np.empty_like(x)
        dr.asarray(here)[...] = a
        assert here.tobytes() == x.tobytes()

    def test_astype_and_copy(self):
        a = gpu(X)
        assert_same(a.astype("float64"), X.astype(np.float64))
        assert_same(a.T.astype("int32"), X.T.astype(np.int32))
        b = a.copy()
        b[...] = 0
        assert_same(a, X)


class TestLeavingTheDevice:
    def test_on_purpose(self):
        a = gpu(X)
        assert float(a[1, 2]) == X[1, 2]
        assert int(gpu(np.array(7))) == 7
        assert bool(gpu(np.array(True)))
        assert a.tolist() == X.tolist()
        assert a[0, 0].item() == X[0, 0].item()
        assert repr(gpu(np.arange(3))) == "Array([0, 1, 2])"
        assert f"{a[0, 0]:.3f}" == f"{X[0, 0]:.3f}"
        copied = pickle.loads(pickle.dumps(a))
        assert copied.device == "cpu"
        assert copied.numpy().tobytes() == X.tobytes()

    @pytest.mark.parametrize(
        "call",
        [
            np.asarray,
            lambda a: a.numpy(),
            lambda a: np.add(a.numpy(), 1),
            dr.sort,
            lambda a: a == 1,
            lambda a: a[np.array([0, 1])],
            lambda a: a**2,
        ],
    )
    def test_not_by_accident(self, call, one_line):
        with one_line(dr.DeviceError, r'cuda:0.*\.to\("cpu"\)'):
            call(gpu(X))

    def test_no_buffer(self):
        with pytest.raises(BufferError):
            memoryview(gpu(X))


class TestTwoDevices:
    def test_operands_must_be_on_one(self, one_line):
        a, b = gpu(X), dr.asarray(X)
        for call in (
            lambda: a + b,
            lambda: b * a,
            lambda: a @ b.T,
            lambda: dr.add(a, a, out=b),
            lambda: dr.matmul(a, a.T, out=dr.empty((5, 5), "float32")),
            lambda: a + X,
        ):
            with one_line(dr.DeviceError, r"on cuda:0|on cpu"):
                call()

    def test_unknown_device(self, one_line):
        with one_line(dr.DeviceError, "device is 'cuda:17'; this machine and build have: cpu, cuda:0"):
            dr.zeros(3, device="cuda:17")
        with one_line(dr.DeviceError, "device is 'gpu'"):
            gpu(X).to("gpu")


class TestSharing:
    def test_cuda_array_interface(self):
        class Foreign:
            def __init__(self, array):
                self.kept = array
                self.__cuda_array_interface__ = array.__cuda_array_interface__

        a = gpu(X)
        described = a.T.__cuda_array_interface__
        assert (described["shape"], described["typestr"], described["version"]) == ((7, 5), "<f4", 3)
        assert described["strides"] == (4, 28)
        assert described["data"][1] is False
        b = dr.asarray(Foreign(a))
        b[0, 0] = 42
        assert back(a)[0, 0] == 42
        assert_same(dr.asarray(Foreign(a.T)), back(a).T)
        assert dr.asarray(Foreign(a), device="cpu").device == "cpu"
        with pytest.raises(AttributeError):
            dr.asarray(X).__cuda_array_interface__  # noqa: B018

    def test_dlpack(self):
        a = gpu(X)
        assert a.__dlpack_device__() == (2, 0)
        b = dr.from_dlpack(a)
        assert b.device == "cuda:0"
        b[1, 1] = -1
        assert back(a)[1, 1] == -1
        assert_same(dr.from_dlpack(a.T[1:]), back(a).T[1:])
        del a
        assert back(b)[1, 1] == -1

    def test_dlpack_mistakes(self, one_line):
        a = gpu(X)
        with one_line(BufferError, r"dl_device is \(1, 0\), the Array is on \(2, 0\)"):
            a.__dlpack__(dl_device=(1, 0), max_version=(1, 0))
        with one_line(BufferError, "stream is 0"):
            a.__dlpack__(stream=0, max_version=(1, 0))
        with one_line(BufferError, "x is on cuda:0, wanted cpu"):
            dr.from_dlpack(a, device="cpu")
