"""The short way to attributes, views and items (csrc/bind/views.cpp): references, odd arguments, errors.

What they give is held against NumPy in test_index.py and test_array.py.
"""

from __future__ import annotations

import enum
import gc
import inspect
import operator
import sys
import threading
import weakref

import deltarule as dr
import numpy as np
import pytest
from test_ops import assert_same, outcome

pytestmark = pytest.mark.sanitize


def table(dtype=np.float32):
    return np.arange(12).reshape(3, 4).astype(dtype)


class Index:
    """Not an integer, but operator.index takes it."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Number(enum.IntEnum):
    one = 1


# References

SMALL = {
    "reshape": lambda a: a.reshape(2, 6),
    "reshape a tuple": lambda a: a.reshape((2, -1)),
    "reshape a list": lambda a: a.reshape([12]),
    "reshape with a copy": lambda a: a.T.reshape(12),
    "transpose": lambda a: a.transpose(1, 0),
    "T": lambda a: a.T,
    "mT": lambda a: a.mT,
    "ravel": lambda a: a.ravel(),
    "copy": lambda a: a.copy(),
    "row": lambda a: a[1],
    "element": lambda a: a[1, 2],
    "slice": lambda a: a[1:3, ::2],
    "ellipsis": lambda a: a[..., 1],
    "many entries": lambda a: a[None, 1, None, ..., None, None, 1:, None],
    "NumPy's integer": lambda a: a[np.int64(1)],
    "list": lambda a: a[[0, 1]],
    "writing": lambda a: operator.setitem(a, (slice(None), 1), 2.0),
    "writing an element": lambda a: operator.setitem(a, (0, 1), 2.0),
    "shape": lambda a: a.shape,
    "dtype": lambda a: a.dtype,
    "device": lambda a: a.device,
    "len": lambda a: (len(a), a.ndim, a.size),
    "bad shape": lambda a: a.reshape(5),
    "bad extent": lambda a: a.reshape(2, Index(ZeroDivisionError())),
    "bad index": lambda a: a[7],
    "bad slice": lambda a: a[0, Index(0) : Index(ZeroDivisionError())],
    "too many": lambda a: a[(None,) * 9],
    "bad value": lambda a: operator.setitem(a, 0, dr.ones(3)),
    "no deletion": lambda a: operator.delitem(a, 0),
}


@pytest.mark.parametrize("use", SMALL.values(), ids=list(SMALL))
def test_no_reference_is_lost_or_left(use):
    memory = table()
    a = dr.asarray(memory)
    watched = (a, memory, None, Ellipsis, dr.Array, 1, 2)
    outcome(use, a)
    gc.collect()
    before = [sys.getrefcount(thing) for thing in watched]
    for _ in range(1000):
        outcome(use, a)
    gc.collect()
    after = [sys.getrefcount(thing) for thing in watched]
    assert max(abs(x - y) for x, y in zip(before, after, strict=True)) < 100  # Python's own come and go


def test_a_view_keeps_the_memory_and_lets_it_go():
    memory = table()
    alive = weakref.ref(memory)
    a = dr.asarray(memory)
    view = a[1:].T[::-1].reshape(4, 1, 2)[2]
    del memory, a
    gc.collect()
    assert view.tolist() == [[5.0, 9.0]]
    assert alive() is not None
    element = view[0, 0]
    del view
    gc.collect()
    assert alive() is None
    assert element == 5


def test_an_array_s_own_memory_outlives_it():
    views = [(dr.ones((4, 4)) * i)[1:, 1] for i in range(100)]
    assert [view.tolist() for view in views] == [[i] * 3 for i in range(100)]


# Keys

INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]


@pytest.mark.parametrize("kind", [*INTEGERS, Index], ids=lambda kind: kind.__name__)
def test_other_integers_as_indices(kind):
    x = table()
    a = dr.asarray(x)
    places = (0, 2, 3, 100) if kind in INTEGERS and np.iinfo(kind).min == 0 else (0, 2, -1, -3, 3, -4, 100)
    for place in map(kind, places):
        for key in (place, (place, 1), (1, place), (..., place), (slice(place, None), 0), (None, place)):
            want, got = outcome(operator.getitem, x, key), outcome(operator.getitem, a, key)
            assert_same(got, want)
            if isinstance(want, np.ndarray):
                assert np.shares_memory(got.numpy(), x) == np.shares_memory(want, x)
            y, b = x.copy(), dr.array(x)
            assert outcome(operator.setitem, y, key, 5.0) == outcome(operator.setitem, b, key, 5.0)
            assert_same(b, y)


def test_numpy_s_integers_are_told_as_others_are(one_line):
    with one_line(IndexError, r"^index: array is \(3, 4\), index -5 is out of bounds for axis 1$"):
        dr.zeros((3, 4))[np.int32(1), np.int64(-5)]


ODD = [
    *(
        np.timedelta64(1),
        np.bool(True),
        np.float64(1.0),
        np.str_("a"),
        np.array(1),
        np.array([1]),
        Number.one,
    ),
    *(True, 1.0, "a", b"a", {}, [], [[]], object(), Index(ZeroDivisionError()), 2**70, -(2**70)),
    *(slice(1.0), slice(None, None, 0), slice(Index(ZeroDivisionError()), 1), slice("a", None)),
    *((1, 1.0), (True, 1), (slice(0, 1.5), 0), ((0, 1), 1), (..., ...), (0, 1, 2), (None, 0, 1, 2)),
    *(
        (0, ..., 1, None),
        (None,) * 6,
        (None, None, 0, None, 1, None, None),
        (..., 0, None, None, 1, None, None),
    ),
    *((slice(None),) * 3, (0, 1, *(None,) * 7), (0,) * 40, (0, 1, *(...,) * 40)),
]


@pytest.mark.parametrize("key", ODD, ids=str)
def test_odd_keys(key):
    x = table()
    a = dr.asarray(x.copy())
    want = outcome(operator.getitem, x, key)
    assert_same(outcome(operator.getitem, a, key), want)
    assert_same(outcome(a.__getitem__, key), want)
    want = outcome(operator.setitem, x, key, 7.0)
    got = outcome(operator.setitem, a, key, 7.0)
    assert got is want or issubclass(got, want)
    assert_same(a, x)


def test_at_most_eight_dimensions(one_line):
    a = dr.asarray(table())
    assert a[(None,) * 6].shape == (1,) * 6 + (3, 4)
    assert a[(None,) * 7 + (0,)].shape == (1,) * 7 + (4,)
    for compute in (
        lambda: a[(None,) * 7],
        lambda: a.reshape((1,) * 7 + (3, 4)),
        lambda: a.reshape(*[1] * 7, 12, 1),
    ):
        with one_line(ValueError, "^shape: more than 8 dimensions"):
            compute()
    assert dr.zeros((1,) * 8)[..., 0].shape == (1,) * 7


def test_an_element_is_a_copy_and_a_view_is_not():
    a = dr.asarray(table())
    a[0, 0], a[0, 1] = a[0, 1], a[0, 0]
    assert a[0, :2].tolist() == [1, 0]
    element, view = a[1, 1], a[1, 1, ...]
    a[1, 1] = 99
    assert (element, view) == (5, 99)
    element[...] = 1  # its own memory, which may be written to
    fixed = dr.broadcast_to(dr.ones(1), (3,))
    assert not fixed[1:].flags.writeable
    assert fixed[1].flags.writeable


def test_deletion_is_no_operation():
    a = dr.zeros(3)
    with pytest.raises(AttributeError, match="__delitem__"):
        del a[0]


# Methods

BAD_CALLS = [
    lambda a: a.reshape(shape=12),
    lambda a: a.transpose(axes=None),
    lambda a: a.reshape(12, order=1),
    lambda a: a.ravel("C", "C"),
    lambda a: a.copy(1),
    lambda a: a.reshape("12"),
    lambda a: a.reshape(2.0, 6),
    lambda a: a.reshape((2, 3), 2),
    lambda a: a.reshape(2, None),
    lambda a: a.transpose(0, "1"),
    lambda a: a.__getitem__(),
    lambda a: a.__getitem__(0, 1),
    lambda a: a.__setitem__(0),
    lambda a: a.__setitem__(0, 1, 2),
    lambda a: a.__len__(1),
    lambda a: dr.Array.reshape(),
    lambda a: dr.Array.reshape(3, 4),
    lambda a: dr.Array.T.__get__(table()),
    lambda a: len(a[0, 0]),
]


@pytest.mark.parametrize("call", BAD_CALLS, ids=inspect.getsource)
def test_bad_calls_are_type_errors(call):
    with pytest.raises(TypeError) as caught:
        call(dr.asarray(table()))
    assert "\n" not in str(caught.value)


def test_an_error_in_an_argument_comes_through():
    a = dr.asarray(table())
    broken = Index(ZeroDivisionError("mine"))
    for call in (
        lambda: a.reshape(broken),
        lambda: a.reshape(3, broken),
        lambda: a.reshape((3, broken)),
        lambda: a.transpose(broken, 0),
        lambda: a[:broken],
        lambda: operator.setitem(a, slice(broken), 1.0),
    ):
        with pytest.raises(ZeroDivisionError, match="mine"):
            call()


def test_arguments_of_reshape_and_transpose():
    x = np.arange(24.0).reshape(2, 3, 4)
    a = dr.asarray(x)
    for shape in ([6, 4], np.array([6, 4]), (np.int64(6), Index(4)), (2, -1, 4)):
        assert_same(a.reshape(shape), x.reshape(shape))
    for shape in (24, -1, Index(24)):
        assert_same(a.reshape(shape), x.reshape(24))
    for shape in (range(2, 4), (), None, Number.one):
        with pytest.raises(ValueError, match=r"^reshape: array is \(2, 3, 4\), wanted"):
            a.reshape(shape)
    assert_same(a.reshape(np.int8(6), Index(4)), x.reshape(6, 4))
    assert_same(a[0, 0, 0].reshape(), x[0, 0, 0].reshape(()))
    for axes in ([2, 0, 1], (2, 0, 1), np.array([2, 0, 1]), (-1, 0, 1)):
        assert_same(a.transpose(axes), x.transpose(axes))
        assert_same(a.transpose(*axes), x.transpose(axes))
    assert_same(a.transpose(None), x.T)
    assert_same(a.transpose(), x.T)


def test_methods_tell_what_they_take():
    assert str(inspect.signature(dr.Array.reshape)) == "(self, /, *shape, order='C')"
    assert str(inspect.signature(dr.Array.transpose)) == "(self, /, *axes)"
    assert str(inspect.signature(dr.Array.ravel)) == "(self, /, order='C')"
    assert all(getattr(dr.Array, name).__doc__ for name in ("reshape", "transpose", "ravel", "copy"))


@pytest.mark.parametrize(
    "name", ["shape", "strides", "dtype", "ndim", "size", "itemsize", "nbytes", "device", "T", "mT"]
)
def test_attributes_are_not_writable(name):
    a = dr.asarray(table())
    with pytest.raises(AttributeError):
        setattr(a, name, getattr(a, name))
    with pytest.raises(AttributeError):
        delattr(a, name)


def test_no_array_without_memory(one_line):
    with one_line(TypeError, "^Array: has no constructor; asarray, array, zeros and so on make one$"):
        dr.Array()
    for new in (dr.Array.__new__, object.__new__):
        with pytest.raises(TypeError):
            new(dr.Array)


# Where the interpreter's lock is given back


def test_large_arrays():
    x = np.arange(40000.0).reshape(200, 200)
    a = dr.array(x)
    assert_same(a.T.reshape(-1), x.T.reshape(-1))
    assert_same(a.T.ravel(), x.T.ravel())
    assert_same(a.T.copy(), x.T.copy())
    assert np.shares_memory(a.reshape(40, 1000).numpy(), a.numpy())
    a[:, ::-1] = a[::-1].copy()
    assert_same(a, x[::-1, ::-1])
    with pytest.raises(ValueError, match=r"^setitem: value is \(7,\)"):
        a[...] = dr.zeros(7)


def test_threads_may_share_an_array():
    a = dr.array(np.arange(40000.0).reshape(200, 200))
    wrong = []

    def work(row):
        for _ in range(200):
            a[row] = a[row] + 0
            if a.T[:, row].reshape(2, 100)[1, 99] != 200 * row + 199 or a.T.copy().shape != (200, 200):
                wrong.append(row)

    threads = [threading.Thread(target=work, args=(row,)) for row in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


ORDERED = {
    "rows": lambda: np.arange(24.0).reshape(2, 3, 4),
    "columns": lambda: np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
    "strided": lambda: np.arange(48.0).reshape(2, 3, 8)[:, :, ::2],
    "0-d": lambda: np.array(3.0),
    "empty": lambda: np.zeros((2, 0, 3)),
}


@pytest.mark.parametrize("order", ["C", "F", "A"])
@pytest.mark.parametrize("layout", ORDERED)
def test_order_of_the_elements(layout, order):
    x = ORDERED[layout]()
    a = dr.asarray(x)
    shapes = [(-1,), (x.size,)] + ([(4, -1), (6, 4), (2, 2, 6)] if x.size == 24 else [])
    for shape in shapes if x.size else [(0,), (0, 5)]:
        want = x.reshape(shape, order=order)
        for got in (
            a.reshape(shape, order=order),
            a.reshape(*shape, order=order),
            dr.reshape(a, shape, order),
        ):
            np.testing.assert_array_equal(np.asarray(got), want)
            assert np.shares_memory(got, x) == np.shares_memory(want, x)
    for got in (
        a.ravel(order),
        a.ravel(order=order),
        dr.ravel(a, order),
        a.flatten(order),
        a.flatten(order=order),
    ):
        np.testing.assert_array_equal(np.asarray(got), x.ravel(order))
    assert not np.shares_memory(a.flatten(order), x)


@pytest.mark.parametrize(
    ("mistake", "kind", "line"),
    [
        (lambda a: a.reshape(4, order="K"), ValueError, "reshape: order is 'K'; choose one of: C, F, A"),
        (lambda a: a.ravel("x"), ValueError, "ravel: order is 'x'; choose one of: C, F, A"),
        (lambda a: a.flatten("x"), ValueError, "flatten: order is 'x'; choose one of: C, F, A"),
        (lambda a: a.ravel(order=3), TypeError, "ravel: order is 3; choose one of: C, F, A"),
        (lambda a: a.ravel("C", "C"), TypeError, "ravel: 2 arguments; wanted order"),
        (lambda a: a.reshape(4, axis=1), TypeError, "reshape: axis is no argument of it; order is"),
        (lambda a: a.reshape("a"), TypeError, "reshape: shape is 'a'; wanted a whole number or several"),
        (
            lambda a: a.reshape(2, 2.0),
            TypeError,
            "reshape: shape is (2, 2.0); wanted a whole number or several",
        ),
        (
            lambda a: a.transpose(0, "x"),
            TypeError,
            "transpose: axes is (0, 'x'); wanted a whole number or several",
        ),
        (lambda a: dr.array(a, order="x"), ValueError, "array: order is 'x'; choose one of: K, A, C, F"),
    ],
)
def test_other_orders_are_refused(mistake, kind, line):
    with pytest.raises(kind) as caught:
        mistake(dr.zeros(4))
    assert str(caught.value) == line


def test_array_s_order_and_ndmin():
    x = np.arange(6.0).reshape(2, 3)
    for order in "KACF":
        for source in (x, x.T, dr.asarray(x), x[:, ::2], [[1.0, 2.0], [3.0, 4.0]]):
            got, want = dr.array(source, order=order, ndmin=3), np.array(source, order=order, ndmin=3)
            np.testing.assert_array_equal(np.asarray(got), want)
            assert (got.flags.c_contiguous, got.flags.f_contiguous) == (
                want.flags.c_contiguous,
                want.flags.f_contiguous,
            )
            assert not np.shares_memory(got, x)
    assert dr.array(3.0, ndmin=2).shape == (1, 1)
    assert dr.array(x, ndmin=1).shape == (2, 3)
    with pytest.raises(
        ValueError, match=r"^array: copy is False, but for order 'F' the elements must be copied$"
    ):
        dr.array(x, copy=False, order="F")


def test_real_and_flat():
    a = dr.asarray(np.arange(6.0).reshape(2, 3))
    assert a.real is a
    a.flat[1] = 9
    assert a[0, 1] == 9
    assert list(a.flat) == [0, 9, 2, 3, 4, 5]


def test_shapes_from_arrays_without_dimensions():
    for shape in (dr.array(3), np.array(3), np.int32(3)):
        assert dr.zeros(shape).shape == (3,)
        assert dr.zeros(6).reshape(shape, -1).shape == (3, 2)
        assert dr.ones((2, shape)).shape == (2, 3)
    assert dr.zeros(np.array([3, 2])).shape == (3, 2)
    assert dr.zeros(dr.array([3, 2])).shape == (3, 2)
