"""Array: attributes, memory shared with NumPy both ways, lifetimes, conversions, printing, pickling."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import weakref

import deltarule as dr
import numpy as np
import pytest

DTYPES = [np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool]
pytestmark = pytest.mark.sanitize


def sample(dtype, shape=(3, 4)):
    """Small integers, some negative where they can be."""
    numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape) - 3
    return (np.abs(numbers) if np.dtype(dtype).kind == "u" else numbers).astype(dtype)


def layouts(x):
    """The same array class in other memory orders."""
    return {
        "c": x,
        "t": x.T,
        "step": x[::2, 1:],
        "negative": x[::-1, ::-2],
        "one": x[1],
        "none": x[:0],
        "0d": x[1, 1, ...],
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", layouts(sample(np.float32)))
def test_attributes_are_numpy_s(dtype, layout):
    x = layouts(sample(dtype))[layout]
    a = dr.asarray(x)
    assert isinstance(a, dr.Array)
    for name in ("shape", "strides", "dtype", "ndim", "size", "itemsize", "nbytes", "device"):
        assert getattr(a, name) == getattr(x, name), name
    assert type(a.dtype) is type(x.dtype)
    assert a.flags.c_contiguous == x.flags.c_contiguous
    assert a.flags.f_contiguous == x.flags.f_contiguous
    assert a.flags.writeable
    assert a.T.shape == x.T.shape
    np.testing.assert_array_equal(a.numpy(), x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", layouts(sample(np.float32)))
def test_memory_is_numpy_s(dtype, layout):
    x = layouts(sample(dtype))[layout]
    a = dr.asarray(x)
    if x.size:
        x[...] = 1
        assert a.numpy().min() == 1
        a[...] = 0
        assert x.max() == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", layouts(sample(np.float32)))
@pytest.mark.parametrize(
    "convert",
    [
        np.asarray,
        lambda a: np.array(a, copy=False),
        lambda a: np.asarray(memoryview(a)),
        lambda a: a.__array__(),
        lambda a: np.from_dlpack(a),
        lambda a: a.numpy(),
    ],
    ids=["asarray", "array", "buffer", "__array__", "dlpack", "numpy"],
)
def test_numpy_reads_and_writes_our_memory(dtype, layout, convert, request):
    if layout == "negative" and "dlpack" in request.node.name:
        pytest.skip("copied: test_dlpack.py")
    source = dr.array(sample(dtype))
    a = source[...] if layout == "0d" else source
    a = {"0d": lambda: a[1, 1, ...], "c": lambda: a}.get(layout, lambda: layouts(a)[layout])()
    x = convert(a)
    assert type(x) is np.ndarray
    assert (x.dtype, x.shape) == (a.dtype, a.shape)
    if x.size:
        x[...] = 0
        assert not np.any(a.numpy())
        a[...] = 1
        assert np.all(x == 1)


def test_array_interface_describes_the_memory():
    a = dr.array(sample(np.float32)).T

    class Other:
        __array_interface__ = a.__array_interface__
        keep = a

    x = np.asarray(Other())
    assert x.strides == a.strides
    x[0, 0] = 42
    assert a[0, 0] == 42


def test_array_protocol_s_dtype_and_copy():
    a = dr.array(sample(np.float32))
    assert np.asarray(a, dtype=np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(a), a.numpy())
    assert np.shares_memory(np.array(a, copy=None), a.numpy())
    with pytest.raises(ValueError, match="copy"):
        np.array(a, dtype=np.float64, copy=False)
    assert not np.shares_memory(a.__array__(copy=True), a.numpy())


def test_asarray_gives_the_array_itself():
    a = dr.zeros((2, 3))
    assert dr.asarray(a) is a
    assert dr.asarray(a, dtype=np.float64) is a
    assert not np.shares_memory(dr.asarray(a, dtype=np.float32).numpy(), a.numpy())
    assert not np.shares_memory(dr.asarray(a, copy=True).numpy(), a.numpy())
    assert not np.shares_memory(dr.array(a).numpy(), a.numpy())
    with pytest.raises(ValueError, match="copy"):
        dr.asarray(a, dtype=np.float32, copy=False)
    with pytest.raises(ValueError, match="copy"):
        dr.asarray([1, 2], copy=False)


def test_read_only_memory_stays_read_only():
    x = sample(np.float32)
    x.flags.writeable = False
    a = dr.asarray(x)
    assert not a.flags.writeable
    assert not np.asarray(a).flags.writeable
    assert not np.from_dlpack(a).flags.writeable
    assert not a.numpy().flags.writeable
    assert a.__array_interface__["data"][1]
    assert memoryview(a).readonly
    for write in (
        lambda: a.__setitem__(0, 1.0),
        lambda: a.__setitem__(a > 0, 1.0),
        lambda: a.__iadd__(1.0),
        lambda: a.__imod__(2.0),
        lambda: dr.add(x, x, out=a),
        lambda: a.fill(0),
        lambda: a.sort(),
    ):
        with pytest.raises(ValueError, match="read-only"):
            write()
    assert a.copy().flags.writeable
    np.testing.assert_array_equal(x, sample(np.float32))


def test_flags_writeable_can_be_taken_away_for_good():
    a = dr.zeros(3)
    view = a[1:]
    a.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        a[0] = 1
    assert not a[1:].flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        a.flags.writeable = True
    view[0] = 5
    assert a[1] == 5


def test_what_an_array_cannot_describe_is_copied_and_read_only():
    swapped = sample(np.float32).astype(">f4")
    odd = np.frombuffer(b"\0" + sample(np.float64).tobytes(), dtype=np.float64, offset=1)
    field = np.zeros(3, dtype=[("a", np.uint8), ("b", np.float32)])["b"]
    for x in (swapped, odd, field):
        np.testing.assert_array_equal(dr.asarray(x).numpy(), x)
        assert not dr.asarray(x).flags.writeable
        native = x.astype(x.dtype.newbyteorder("="))
        with pytest.raises(ValueError, match="read-only"):
            dr.add(native, native, out=x)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros(2, np.float16),
        np.zeros(2, np.complex128),
        np.array(["a"]),
        np.array([None]),
        np.zeros(2, np.uint64),
    ],
    ids=lambda x: str(x.dtype),
)
def test_other_dtypes_are_a_type_error(x, one_line):
    with one_line(
        TypeError,
        rf"^dtype is {x.dtype.str if x.dtype.kind == 'U' else x.dtype}; an Array has float32, float64,",
    ):
        dr.asarray(x)


def test_array_outlives_its_owner_and_the_other_way_round():
    x = sample(np.float64)
    want = x.copy()
    owner = weakref.ref(x)
    a = dr.asarray(x)[1:].T
    del x
    gc.collect()
    assert owner() is not None
    np.testing.assert_array_equal(a.numpy(), want[1:].T)
    del a
    gc.collect()
    assert owner() is None

    b = dr.array(want)
    views = [np.asarray(b), np.from_dlpack(b), memoryview(b), b.numpy(), np.asarray(b.T), b[0]]
    del b
    gc.collect()
    np.testing.assert_array_equal(views[0], want)
    np.testing.assert_array_equal(views[4].T, want)
    np.testing.assert_array_equal(views[5].numpy(), want[0])


def test_no_reference_is_lost_or_kept():
    x = sample(np.float32)

    def use():
        a = dr.asarray(x)
        b = a[1:, ::2] + x[1:, ::2]
        b += 1
        b.sum(axis=0)
        np.asarray(a)
        np.from_dlpack(a)
        dr.from_dlpack(x)
        memoryview(a).release()
        np.exp(a)
        a[a > 2]
        with pytest.raises(ValueError, match="matmul"):
            a @ a
        pickle.loads(pickle.dumps(a))

    use()
    gc.collect()
    before = sys.getrefcount(x)
    for _ in range(50):
        use()
    gc.collect()
    assert sys.getrefcount(x) == before


def test_memory_is_given_back():
    resource = pytest.importorskip("resource")
    for _ in range(20):
        dr.zeros((1000, 1000)) + 1.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        dr.asarray(np.asarray(dr.zeros((1000, 1000)) + 1.0))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 100_000  # kB; 200 leaked arrays would be 1,600,000


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", DTYPES)
def test_pickling(protocol, dtype):
    a = dr.array(sample(dtype))[:, ::2]
    b = pickle.loads(pickle.dumps(a, protocol))
    assert type(b) is dr.Array
    assert b.dtype == a.dtype
    np.testing.assert_array_equal(b.numpy(), a.numpy())
    b[...] = 0


def test_copies_are_deep():
    a = dr.array(sample(np.float32)).T
    for b in (copy.copy(a), copy.deepcopy([a])[0], a.copy(), dr.copy(a), a.flatten().reshape(a.shape)):
        assert b.flags.c_contiguous
        b[...] = -1
    np.testing.assert_array_equal(a.numpy(), sample(np.float32).T)


PRINTED = [
    sample(np.float32),
    sample(np.float64),
    sample(np.int64),
    sample(np.int32),
    sample(np.bool),
    np.zeros((0, 3)),
    np.float32(2.5) * np.ones(()),
    np.arange(5000.0).reshape(50, 100),
    np.array([np.nan, np.inf, 1e-20]),
]


@pytest.mark.parametrize("x", PRINTED, ids=range(len(PRINTED)))
def test_printing_is_numpy_s(x):
    class Array(np.ndarray):
        pass

    assert repr(dr.asarray(x)) == repr(np.asarray(x).view(Array))
    assert repr(dr.asarray(x)).startswith("Array(")
    assert str(dr.asarray(x)) == str(x)


def test_a_0d_array_behaves_like_a_number():
    a = dr.asarray([1.5, 2.5])
    x = a[1]
    assert isinstance(x, dr.Array)
    assert x.shape == ()
    assert (float(x), int(x), bool(x), complex(x)) == (2.5, 2, True, 2.5 + 0j)
    assert f"{x:.2f}" == "2.50"
    assert round(x, 1) == 2.5
    assert x.item() == 2.5
    assert type(x.item()) is float
    assert x > 2
    assert [10, 20, 30][dr.asarray(1)] == 20
    a[1] = 0
    assert x == 2.5  # a copy: a[0], a[1] = a[1], a[0] does what it says
    a[0], a[1] = a[1], a[0]
    assert a.tolist() == [0.0, 1.5]
    view = a[1, ...]
    a[1] = 7
    assert view == 7  # with an Ellipsis it is a view, as in NumPy


def test_conversions_fail_as_numpy_s():
    a = dr.zeros((2, 3))
    for convert in (float, int, complex):
        with pytest.raises(TypeError, match=r"only .*scalar|0-dimensional"):
            convert(a)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(a)
    with pytest.raises(TypeError, match="0-d"):
        len(dr.asarray(1.0))
    with pytest.raises(TypeError, match="0-d"):
        iter(dr.asarray(1.0))
    with pytest.raises(TypeError, match="unhashable type"):
        hash(a)
    with pytest.raises(TypeError, match="scalar"):
        [1, 2][dr.asarray([0, 1])]


def test_iteration_and_containment():
    x = sample(np.int64)
    a = dr.asarray(x)
    assert [row.tolist() for row in a] == x.tolist()
    assert len(a) == 3
    assert 5 in a
    assert 99 not in a
    assert a.tolist() == x.tolist()
    first, second, third = a
    assert (first.shape, second[0], third[-1]) == ((4,), x[1, 0], x[2, -1])
