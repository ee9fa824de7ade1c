"""The short ways from Python to a kernel (csrc/bind/direct.cpp, object.cpp) and the memory behind them."""

from __future__ import annotations

import inspect
import pickle
import sys
import weakref

import deltarule as dr
import numpy as np
import pytest
from deltarule import _core, _functions

A = np.array([[0.5, 1.25, 2.0], [3.0, -4.0, 0.75]])


def misaligned(dtype):
    """A [2, 3] array whose memory starts between two of its items."""
    raw = bytearray(A.size * np.dtype(dtype).itemsize + 1)
    array = np.frombuffer(raw, np.uint8)[1:].view(dtype).reshape(A.shape)
    array[...] = A
    return array


OPERANDS = {
    "Array": lambda dtype: dr.asarray(A.astype(dtype)),
    "transposed": lambda dtype: dr.asarray(np.asfortranarray(A.astype(dtype))),
    "strided": lambda dtype: dr.asarray(np.repeat(A.astype(dtype), 2, 1))[:, ::2],
    "row": lambda dtype: dr.asarray(A.astype(dtype)[0]),
    "0-d": lambda dtype: dr.asarray(np.array(1.5, dtype)),
    "empty": lambda dtype: dr.zeros((0, 2, 3), dtype),
    "ndarray": lambda dtype: A.astype(dtype),
    "misaligned": misaligned,
    "foreign bytes": lambda dtype: A.astype(np.dtype(dtype).newbyteorder()),
    "float16": lambda dtype: A.astype(np.float16),
    "scalar": lambda dtype: np.dtype(dtype).type(1.5),
    "float": lambda dtype: 1.5,
    "int": lambda dtype: 2,
    "bool": lambda dtype: True,
    "huge int": lambda dtype: 10**400,
    "list": lambda dtype: [0.5, 1.0, 2.0],
    "int32": lambda dtype: dr.asarray(A.astype(np.int32)),
}
DTYPES = (np.float32, np.float64)


def outcome(function, *operands, **options):
    """What a call gives, or the kind of its error."""
    try:
        with np.errstate(all="ignore"):
            result = function(*operands, **options)
    except Exception as error:
        return type(error)
    return type(result), result.dtype, result.shape, np.asarray(result).tobytes()


def plain(value):
    return np.asarray(value) if isinstance(value, dr.Array) else value


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("right", OPERANDS)
@pytest.mark.parametrize("left", OPERANDS)
def test_binary_operands(left, right, dtype):
    a, b = OPERANDS[left](dtype), OPERANDS[right](dtype)
    want = outcome(np.add, plain(a), plain(b))
    got = outcome(dr.add, a, b)
    if isinstance(want, type) or want[1] == np.float16 or want[1].kind == "O":
        assert isinstance(got, type) or got[1] in (np.float32, np.float64)
        return
    assert got == (dr.Array, *want[1:])
    if isinstance(a, dr.Array) or (isinstance(b, dr.Array) and not isinstance(a, (np.ndarray, np.generic))):
        assert outcome(lambda a, b: a + b, a, b) == got


ARRAYS = ("Array", "transposed", "strided", "row", "ndarray", "misaligned", "foreign bytes", "int32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [*ARRAYS, "0-d", "empty", "scalar"])
def test_unary_operands(kind, dtype):
    x = OPERANDS[kind](dtype)
    for name in ("negative", "square"):
        assert outcome(getattr(dr, name), x) == (dr.Array, *outcome(getattr(np, name), plain(x))[1:])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("name", ["sum", "mean", "max", "argmax"])
def test_reduction_operands(name, kind, dtype):
    x = OPERANDS[kind](dtype)
    for axis in (None, 0, -1, (0, 1), 7, (0, 0), 1.5):
        for options in ({}, {"keepdims": True}, {"keepdims": False}):
            want = outcome(getattr(np, name), plain(x), axis=axis, **options)
            for got in (
                outcome(getattr(dr, name), x, axis=axis, **options),
                outcome(getattr(dr, name), x, axis, **options),
                outcome(getattr(dr.asarray(x), name), axis, **options),
            ):
                if isinstance(want, type):
                    assert isinstance(got, type)
                    continue
                assert got[1:3] == want[1:3]
                values = [np.frombuffer(result[3], want[1]) for result in (got, want)]
                # A's sums are exact in every dtype and a mean is one division; the mean of nothing is NaN twice.
                np.testing.assert_array_equal(*values)


def test_out_by_place_and_by_name():
    a, b = dr.asarray(A), dr.asarray(A + 1)
    for call in (
        lambda out: dr.add(a, b, out),
        lambda out: dr.add(a, b, out=out),
        lambda out: np.add(a, b, out=out),
    ):
        out = dr.zeros(A.shape, np.float64)
        assert call(out) is out
        np.testing.assert_array_equal(np.asarray(out), A + A + 1)
    plain_out = np.zeros(A.shape)
    assert dr.add(a, b, out=plain_out) is plain_out
    np.testing.assert_array_equal(plain_out, A + A + 1)
    assert dr.add(a, b, None).shape == A.shape
    with pytest.raises(ValueError, match="out is"):
        dr.add(a, b, dr.zeros(3, np.float64))
    with pytest.raises(TypeError):
        dr.add(a)
    with pytest.raises(TypeError):
        dr.add(a, b, out=None, nonsense=1)


def test_in_place_keeps_the_object_and_its_dtype():
    a = dr.asarray(A.astype(np.float32))
    before, view = a, a[0]
    a += 1
    a *= a
    a -= dr.asarray(A.astype(np.float32)[0])
    a /= 2
    assert a is before
    assert a.dtype == np.float32
    want = A.astype(np.float32)
    want += 1
    want *= want
    want -= A.astype(np.float32)[0]
    want /= 2
    np.testing.assert_array_equal(np.asarray(a), want)
    np.testing.assert_array_equal(np.asarray(view), want[0])
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        a += dr.ones((4, 2, 3), np.float32)


def test_functions_say_what_they_are():
    for name in ("add", "exp", "sum", "softmax", "activate"):
        function = getattr(dr, name)
        assert function.__name__ == name
        assert function.__module__ == "deltarule"
        assert function.__doc__
        assert inspect.signature(function).parameters
        assert pickle.loads(pickle.dumps(function)) is function
    assert str(inspect.signature(dr.add)) == "(a, b, /, out=None, **options)"
    with pytest.raises(ValueError, match="no kernel 'outcome'"):
        _core.direct(outcome, "")


def test_methods_take_what_the_functions_take():
    x = dr.asarray(A)
    assert x.sum(axis=0, keepdims=True).shape == (1, 3)
    assert x.sum(1, np.float32).dtype == np.float32
    out = dr.zeros((3,), np.float64)
    assert x.max(0, out) is out
    assert float(x.sum(initial=1.0)) == float(A.sum()) + 1.0
    with pytest.raises(TypeError):
        x.sum(**{f"option{i}": 0 for i in range(12)})


def test_names_of_the_list_all_exist():
    for name in _functions.__all__:
        assert callable(getattr(dr, name))


def test_objects_are_reused_without_a_trace():
    held = [dr.asarray(np.full(3, i, np.float64)) + 0 for i in range(200)]
    seen = weakref.ref(held[7])
    ended = []
    watch = weakref.ref(held[8], ended.append)
    values = [np.asarray(array).tolist() for array in held]
    assert values == [[i] * 3 for i in range(200)]
    del held
    assert seen() is None
    assert watch() is None
    assert ended == [watch]
    again = [dr.asarray(np.full(3, i, np.float64)) + 0 for i in range(200)]
    assert [np.asarray(array).tolist() for array in again] == values
    assert all(weakref.getweakrefcount(array) == 0 for array in again)
    del again
    count = sys.getrefcount(dr.Array)
    for _ in range(100):
        [dr.asarray(A) + 0 for _ in range(100)]
    after = sys.getrefcount(dr.Array)  # not in the assertion, which keeps what it looks at
    assert after == count


def address(array):
    return np.asarray(array).__array_interface__["data"][0]


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 240, 241, 1000, 5000, 1 << 18, (1 << 20) + 3])
def test_memory_is_aligned_and_not_shared(n):
    arrays = [dr.ones(n, np.float32) * i for i in range(4)]
    assert all(address(array) % 64 == 0 for array in arrays)
    view = arrays[2][: n // 2]
    del arrays[2], arrays[0]
    other = [dr.ones(n, np.float32) * 9 for _ in range(4)]
    assert (np.asarray(view) == 2).all()
    assert all((np.asarray(array) == 9).all() for array in other)


def test_freed_memory_is_kept_within_bounds():
    x = dr.ones(1 << 22, np.float32)
    y = x + x
    before = _core.kept_bytes()
    del y
    kept = _core.kept_bytes()
    y = x + x
    if kept != before:  # a sanitizer's build keeps nothing
        assert kept - before >= x.nbytes
        assert _core.kept_bytes() == before
    many = [x + x for _ in range(16)]
    del many, y
    assert _core.kept_bytes() <= 192 << 20


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "max", "min", "argmax", "argmin"])
def test_methods_say_what_they_take(name):
    method = getattr(dr.Array, name)
    assert list(inspect.signature(method).parameters)[:2] == ["self", "axis"]
    assert "keepdims" in inspect.signature(method).parameters
    assert "`axis`" in method.__doc__
    taken = [entry for entry in inspect.signature(getattr(dr, name)).parameters if entry != "x"]
    assert list(inspect.signature(method).parameters)[1:] == taken


@pytest.mark.parametrize(
    "name", ["set_num_threads", "num_threads", "set_isa", "isa", "isas", "devices", "info"]
)
def test_settings_say_what_they_do(name):
    told = getattr(dr, name).__doc__.partition("\n")[2].strip()
    assert len(told) > 20
    assert name.startswith("set_") == ("Raises" in told)
