"""Indexing, assignment, views and creation against NumPy."""

from __future__ import annotations

import itertools
import operator

import deltarule as dr
import numpy as np
import pytest
from test_ops import assert_same, outcome

pytestmark = pytest.mark.sanitize
BASIC = [
    *(
        0,
        -1,
        2,
        slice(None),
        slice(1, None),
        slice(None, None, -1),
        slice(-2, None, 2),
        slice(5, 1, -2),
        slice(9, 3),
    ),
    *(
        Ellipsis,
        None,
        (),
        (1, 2, 3),
        (1, ..., 2),
        (..., 0),
        (None, 0),
        (slice(1, 3), None, ..., slice(None, None, 2)),
    ),
    *(
        (0, 1, 2, ...),
        (slice(0, 0), 1),
        (slice(None, None, 10**18), 0),
        (slice(-(10**20), 10**20),),
        (2, None, None),
    ),
]
ADVANCED = [
    *(
        [0, 2],
        np.array([0, -1]),
        np.int64(1),
        (np.int64(1), 2),
        True,
        False,
        ([0, 1], [1, 2]),
        ([0, 1], slice(1, 3)),
    ),
    *(
        (slice(None), [0, 1, 1]),
        np.arange(60).reshape(3, 4, 5) > 30,
        [True, False, True],
        np.array([], dtype=int),
    ),
    *((np.array([[0], [1]]), np.array([1, 2])), np.array(1)),
]
BAD = [
    3,
    -4,
    (0, 4),
    (0, 0, 0, 0),
    (..., ...),
    (0, 0, 0, None, 0),
    [3],
    1.5,
    "a",
    (0, "b"),
    np.ones(4, bool),
    10**30,
]


def cube(dtype=np.float32):
    return np.arange(60).reshape(3, 4, 5).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
@pytest.mark.parametrize("key", [*BASIC, *ADVANCED], ids=repr)
def test_reading(key, dtype):
    x = cube(dtype)
    for strided in (x, x.T, x[:, ::-1, ::2]):
        a = dr.asarray(strided)
        want = outcome(operator.getitem, strided, key)
        got = outcome(operator.getitem, a, key)
        assert_same(got, want)
        if isinstance(got, dr.Array) and isinstance(want, np.ndarray):
            assert np.shares_memory(got.numpy(), x) == np.shares_memory(want, x)


@pytest.mark.parametrize(
    "key", [dr.asarray([2, 0]), (dr.asarray([0, 1]), dr.asarray([1, 1])), dr.asarray(1)], ids=str
)
def test_arrays_are_keys(key):
    x = cube()
    plain = tuple(part.numpy() for part in key) if isinstance(key, tuple) else key.numpy()
    assert_same(dr.asarray(x)[key], x[plain])
    assert_same(dr.asarray(x)[dr.asarray(x) > 7], x[x > 7])


@pytest.mark.parametrize("key", BASIC, ids=repr)
def test_basic_indexing_has_numpy_s_strides(key):
    x = cube(np.float64)
    got, want = dr.asarray(x)[key], x[key]
    if isinstance(want, np.ndarray) and want.size > 1:
        strides = [stride for stride, extent in zip(got.strides, got.shape, strict=True) if extent > 1]
        assert strides == [
            stride for stride, extent in zip(want.strides, want.shape, strict=True) if extent > 1
        ]


@pytest.mark.parametrize("key", BAD, ids=repr)
def test_out_of_bounds_is_an_index_error(key):
    a = dr.asarray(cube())
    with pytest.raises(IndexError):
        a[key]
    with pytest.raises(IndexError):
        a[key] = 0


def test_index_errors_say_what_came(one_line):
    a = dr.zeros((3, 4))
    with one_line(IndexError, r"^index: array is \(3, 4\), index 5 is out of bounds for axis 1$"):
        a[0, 5]
    with one_line(
        IndexError, r"^index: array is \(3, 4\), with 3 indices; there must not be more than dimensions$"
    ):
        a[0, 0, 0]


VALUES = [
    7,
    2.5,
    True,
    np.float32(1.5),
    [1, 2, 3, 4, 5],
    np.arange(5),
    np.arange(5.0),
    np.arange(4.0)[:, None],
    np.ones((1, 1, 1, 5)),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8, np.bool])
@pytest.mark.parametrize("key", [*BASIC, *ADVANCED], ids=repr)
def test_writing(key, dtype):
    for value in [*VALUES, dr.asarray(np.arange(5.0))]:
        x = cube(dtype)
        a = dr.array(x)
        plain = value.numpy() if isinstance(value, dr.Array) else value
        want = outcome(operator.setitem, x, key, plain)
        got = outcome(operator.setitem, a, key, value)
        assert got is want or issubclass(got, want)
        np.testing.assert_array_equal(a.numpy(), x)


def test_writing_what_overlaps():
    for first, second in [
        (slice(1, None), slice(None, -1)),
        (slice(None, -1), slice(1, None)),
        (slice(None), slice(None, None, -1)),
    ]:
        x = np.arange(10.0)
        a = dr.array(x)
        x[first] = x[second].copy()
        a[first] = a[second]
        np.testing.assert_array_equal(a.numpy(), x)
    a = dr.array(np.arange(9.0).reshape(3, 3))
    a[...] = a.T
    np.testing.assert_array_equal(a.numpy(), np.arange(9.0).reshape(3, 3).T)


def test_writing_errors(one_line):
    a = dr.zeros((2, 3))
    with one_line(ValueError, r"^setitem: value is \(4,\), wanted \(2, 3\) or what broadcasts to it$"):
        a[...] = dr.zeros(4)
    with pytest.raises(OverflowError):
        dr.zeros(2, np.uint8)[0] = 256


SHAPES = [(2, 12), (24,), (-1,), (4, -1), (2, 3, 4), (1, 24, 1), (3, 8), (4, 3, 2), (6, 2, 2, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reshape(shape):
    x = np.arange(24.0).reshape(2, 3, 4)
    wide = np.zeros((4, 3, 8))[::2, :, ::2]
    wide[...] = x
    for y in (
        x,
        x.T,
        x.transpose(1, 0, 2),
        x[::-1],
        wide,
        x[:, None, :, :],
        np.broadcast_to(x[:1], (2, 3, 4)),
    ):
        got = dr.asarray(y).reshape(shape)
        assert_same(got, y.reshape(shape))
        assert np.shares_memory(got.numpy(), y) == np.shares_memory(y.reshape(shape), y)
        assert_same(dr.asarray(y).reshape(*shape), y.reshape(shape))
        assert_same(dr.asarray(y).ravel(), y.ravel())
        assert_same(dr.reshape(y, shape), y.reshape(shape))


def test_reshape_of_nothing_and_of_one():
    assert_same(dr.zeros((0, 3)).reshape(3, -1), np.zeros((0, 3)).reshape(3, -1))
    assert_same(dr.zeros(()).reshape(1, 1), np.zeros((1, 1)))
    assert_same(dr.zeros((1, 1)).reshape(()), np.zeros(()))


@pytest.mark.parametrize("shape", [(5, 5), (-1, 5), (-1, -1), (-2, 12), (0, -1)], ids=str)
def test_reshape_errors(shape, one_line):
    with one_line(ValueError, r"^reshape: "):
        dr.zeros((2, 3, 4)).reshape(shape)


def test_views_of_shape():
    x = np.arange(24.0).reshape(1, 2, 3, 4)
    a = dr.asarray(x)
    for axes in itertools.permutations(range(4)):
        assert_same(a.transpose(axes), x.transpose(axes))
        assert_same(a.transpose(*axes), x.transpose(axes))
    pairs = [
        (a.T, x.T),
        (a.transpose(), x.T),
        (a.mT, x.mT),
        (a.swapaxes(-1, 1), x.swapaxes(-1, 1)),
        (a.squeeze(), x.squeeze()),
        (a.squeeze(0), x.squeeze(0)),
        (a.squeeze((0,)), x.squeeze((0,))),
        (dr.expand_dims(a, (0, -1)), np.expand_dims(x, (0, -1))),
        (dr.broadcast_to(a, (5, 3, 2, 3, 4)), np.broadcast_to(x, (5, 3, 2, 3, 4))),
        (dr.moveaxis(a, 0, -1), np.moveaxis(x, 0, -1)),
    ]
    for got, want in pairs:
        assert_same(got, want)
        assert np.shares_memory(got.numpy(), x)
    assert not dr.broadcast_to(a, (5, 1, 2, 3, 4)).flags.writeable


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda a: a.transpose(0, 0), r"transpose: axes are \(0, 0\); each may be named once"),
        (lambda a: a.transpose(0), r"transpose: array is \(2, 3\), axes are \(0,\)"),
        (lambda a: a.swapaxes(0, 2), r"swapaxes: axis is 2, the array has 2 dimensions"),
        (lambda a: a.squeeze(1), r"squeeze: array is \(2, 3\), axis is 1; its extent must be 1"),
        (lambda a: dr.expand_dims(a, 5), r"expand_dims: axis is 5, the array has 3 dimensions"),
        (lambda a: dr.broadcast_to(a, (2, 4)), r"broadcast_to: array is \(2, 3\), wanted \(2, 4\)"),
        (lambda a: a[0].mT, r"matrix_transpose: array is \(3,\)"),
    ],
)
def test_view_errors(compute, message, one_line):
    with one_line(ValueError, f"^{message}"):
        compute(dr.zeros((2, 3)))


@pytest.mark.parametrize("to", [np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool])
def test_astype(dtype, to):
    x = np.array([[0, 1, 2.75], [100, 3, 0]]).astype(dtype)
    for y in (x, x.T, x[:, ::-1]):
        assert_same(dr.asarray(y).astype(to), y.astype(to))
        assert_same(dr.asarray(y).astype(np.dtype(to).name), y.astype(to))
    a = dr.asarray(x)
    assert np.shares_memory(a.astype(dtype, copy=False).numpy(), x)
    assert not np.shares_memory(a.astype(dtype).numpy(), x)


def test_astype_errors(one_line):
    with one_line(TypeError, "^dtype is complex128; an Array has float32"):
        dr.zeros(2).astype(complex)
    with pytest.raises(TypeError):
        dr.zeros(2).astype("no such type")


CREATED = [
    ("zeros", ((2, 3),), {}),
    ("zeros", (3, np.int32), {}),
    ("ones", ((2, 3),), {"dtype": "float32"}),
    ("ones", ((),), {"dtype": np.bool}),
    ("full", ((2, 2), 7), {}),
    ("full", ((2, 2), 7.5), {"dtype": np.float32}),
    ("full", ((2, 2), [1.0, 2.0]), {}),
    ("full", ((2, 2), True), {}),
    ("array", ([[1, 2], [3, 4]],), {}),
    ("array", ([[1, 2], [3, 4]],), {"dtype": np.float32}),
    ("asarray", (2.5,), {}),
    ("arange", (5,), {}),
    ("arange", (1, 2, 0.25), {"dtype": np.float32}),
    ("linspace", (0, 1, 7), {}),
    ("logspace", (0, 1, 7), {}),
    ("eye", (3, 4, 1), {}),
    ("identity", (3,), {"dtype": np.uint8}),
    ("zeros_like", (np.ones((2, 3), np.int32),), {}),
    ("ones_like", (np.zeros((2, 3), np.float32),), {"dtype": np.int64}),
    ("full_like", (np.zeros((2, 3), np.float32), 2.5), {}),
    ("zeros_like", (np.ones((2, 3)),), {"shape": (4,)}),
]


@pytest.mark.parametrize(
    ("name", "args", "options"), CREATED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_creation(name, args, options):
    got = getattr(dr, name)(*args, **options)
    assert_same(got, getattr(np, name)(*args, **options))
    assert got.flags.writeable
    assert got.flags.c_contiguous
    assert got.numpy().ctypes.data % got.itemsize == 0


def test_empty():
    for made in (dr.empty((2, 3), np.int32), dr.empty_like(np.zeros((2, 3), np.int32))):
        assert (made.shape, made.dtype) == ((2, 3), np.int32)
        made[...] = 4
        assert made.sum() == 24


def test_names_of_types_and_constants():
    for name in ("float32", "float64", "int32", "int64", "uint8", "bool", "pi", "e", "inf", "newaxis"):
        assert getattr(dr, name) is getattr(np, name)
