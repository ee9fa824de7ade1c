"""DLPack both ways, with numpy.from_dlpack as the other side."""

from __future__ import annotations

import gc
import sys

import deltarule as dr
import numpy as np
import pytest

DTYPES = [np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool]
pytestmark = [
    pytest.mark.sanitize,
    pytest.mark.skipif(
        np.lib.NumpyVersion(np.__version__) < "2.1.0", reason="NumPy before 2.1 has no versioned capsules"
    ),
]


class Producer:
    """Another library's array around a NumPy one; `old` speaks DLPack before version 1, without arguments."""

    def __init__(self, array, old=False, device=(1, 0), capsule=None):
        self.array, self.old, self.device, self.capsule, self.asked = array, old, device, capsule, []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **options):
        self.asked.append(options)
        if self.old and options:
            raise TypeError("__dlpack__() takes no keyword arguments")
        return self.capsule if self.capsule is not None else self.array.__dlpack__(**options)


def capsule_name(capsule):
    return repr(capsule).split('"')[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "view", [lambda x: x, lambda x: x.T, lambda x: x[1:, ::2], lambda x: x[:0], lambda x: x[1, 2, ...]]
)
def test_round_trip_shares_memory(dtype, view):
    x = view(np.arange(12).reshape(3, 4).astype(dtype))
    a = dr.from_dlpack(x)
    y = np.from_dlpack(a)
    assert (a.dtype, a.shape) == (x.dtype, x.shape)
    assert (y.dtype, y.shape) == (x.dtype, x.shape)
    np.testing.assert_array_equal(y, x)
    if x.size:
        y[...] = 1
        assert np.all(x == 1)
    assert type(dr.from_dlpack(a)) is dr.Array


def test_device():
    a = dr.zeros(3)
    assert a.__dlpack_device__() == (1, 0)
    assert dr.from_dlpack(a, device="cpu").shape == (3,)
    with pytest.raises(dr.DeviceError, match="cuda"):
        dr.from_dlpack(a, device="cuda")


def test_capsules_are_versioned_where_asked():
    a = dr.zeros(3)
    assert capsule_name(a.__dlpack__()) == "dltensor"
    assert capsule_name(a.__dlpack__(max_version=(0, 8))) == "dltensor"
    assert capsule_name(a.__dlpack__(max_version=(1, 0))) == "dltensor_versioned"
    assert (
        capsule_name(a.__dlpack__(max_version=(2, 0), dl_device=(1, 0), stream=None)) == "dltensor_versioned"
    )


def test_from_dlpack_asks_for_version_1():
    producer = Producer(np.zeros(3))
    dr.from_dlpack(producer)
    assert producer.asked == [{"max_version": (1, 1), "dl_device": (1, 0), "copy": None}]


def test_a_producer_from_before_version_1():
    x = np.arange(3.0)
    a = dr.from_dlpack(Producer(x, old=True))
    assert np.shares_memory(a.numpy(), x)
    assert not a.flags.writeable  # it cannot say whether writing is allowed
    b = dr.from_dlpack(Producer(x, old=True), copy=True)
    assert b.flags.writeable
    assert not np.shares_memory(b.numpy(), x)


def test_copy():
    x = np.arange(3.0)
    assert np.shares_memory(dr.from_dlpack(x, copy=False).numpy(), x)
    assert not np.shares_memory(dr.from_dlpack(x, copy=True).numpy(), x)
    a = dr.asarray(x)
    assert np.shares_memory(np.from_dlpack(a, copy=False), x)
    copied = np.from_dlpack(a, copy=True)
    assert not np.shares_memory(copied, x)
    np.testing.assert_array_equal(copied, x)


def test_read_only_is_told():
    x = np.arange(3.0)
    x.flags.writeable = False
    a = dr.asarray(x)
    assert not np.from_dlpack(a).flags.writeable
    assert not dr.from_dlpack(a).flags.writeable
    assert not dr.from_dlpack(x).flags.writeable
    assert dr.from_dlpack(a, copy=True).flags.writeable
    assert capsule_name(a.__dlpack__(copy=True)) == "dltensor"
    with pytest.raises(BufferError, match="read-only"):
        a.__dlpack__()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dl_device": (2, 0)}, r"dl_device is \(2, 0\), the Array is on \(1, 0\)"),
        ({"dl_device": (2, 0), "copy": False}, r"dl_device is \(2, 0\)"),
        ({"stream": 1}, "stream must be None"),
    ],
)
def test_export_errors(options, message, one_line):
    with one_line(BufferError, message):
        dr.zeros(3).__dlpack__(**options)


def test_import_errors(one_line):
    with one_line(BufferError, r"x is on DLPack device \(8, 0\); wanted the CPU or a CUDA device"):
        dr.from_dlpack(Producer(np.zeros(3), device=(8, 0)))
    with one_line(dr.DeviceError, "device is 'cuda:9'; this machine and build have: cpu"):
        dr.from_dlpack(Producer(np.zeros(3), device=(2, 9)))
    with one_line(BufferError, r"dtype has code 2, 16 bits and 1 lanes; an Array has float32"):
        dr.from_dlpack(np.zeros(3, np.float16))
    with one_line(BufferError, r"dtype has code 5, 128 bits"):
        dr.from_dlpack(np.zeros(3, complex))
    with one_line(BufferError, r"9 dimensions; at most 8"):
        dr.from_dlpack(np.zeros((1,) * 9))
    with one_line(BufferError, "no capsule"):
        dr.from_dlpack(Producer(None, capsule="not a capsule"))
    with pytest.raises(AttributeError, match="__dlpack_device__"):
        dr.from_dlpack([1, 2])


def test_a_capsule_is_used_once(one_line):
    capsule = np.zeros(3).__dlpack__(max_version=(1, 0))
    dr.from_dlpack(Producer(None, capsule=capsule))
    assert capsule_name(capsule) == "used_dltensor_versioned"
    with one_line(BufferError, "used already"):
        dr.from_dlpack(Producer(None, capsule=capsule))


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_lifetimes(version):
    x = np.arange(1000.0)
    before = sys.getrefcount(x)
    a = dr.asarray(x)
    for _ in range(20):
        a.__dlpack__(max_version=version)  # never consumed
        dr.from_dlpack(Producer(a)).sum()
        np.from_dlpack(a)
        dr.from_dlpack(Producer(x, old=version is None))
    view = dr.from_dlpack(np.from_dlpack(a))
    del a
    gc.collect()
    assert sys.getrefcount(x) > before
    assert view.sum() == 499500
    del view
    gc.collect()
    assert sys.getrefcount(x) == before


def test_a_refused_capsule_stays_its_producer_s():
    x = np.zeros(3, np.float16)
    before = sys.getrefcount(x)
    for _ in range(5):
        with pytest.raises(BufferError):
            dr.from_dlpack(x)
    gc.collect()
    assert sys.getrefcount(x) == before


@pytest.mark.parametrize("key", [np.s_[::-1], np.s_[:, ::-1], np.s_[::-1, ::-1]])
def test_what_runs_backwards_is_copied(key):
    """PyTorch ends the process at a negative stride."""
    x = np.arange(6.0).reshape(2, 3)
    a = dr.asarray(x)[key]
    got = np.from_dlpack(a)
    np.testing.assert_array_equal(got, x[key])
    assert all(stride > 0 for stride in got.strides)
    assert not np.shares_memory(got, x)
    with pytest.raises(BufferError, match=r"^__dlpack__: copy is False, but the Array runs backwards"):
        a.__dlpack__(copy=False)
    assert np.shares_memory(np.from_dlpack(dr.asarray(x)[:, 1:]), x)
