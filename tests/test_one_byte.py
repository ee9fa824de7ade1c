"""uint8 and bool where NumPy computes in float16: float32's values, whatever way a function is reached."""

from __future__ import annotations

import deltarule as dr
import numpy as np
import pytest
import reference
import tolerance
from deltarule import _functions

HALF = np.dtype(np.float16)
KINDS = tuple(map(np.dtype, ("uint8", "bool", "int8")))  # int8 no Array has, but NumPy's functions take it


def loop(ufunc, dtype):
    """The dtypes NumPy itself takes for operands of this one; empty where it has none."""
    try:
        return ufunc.resolve_dtypes((dtype,) * ufunc.nin + (None,) * ufunc.nout)
    except TypeError:
        return ()


UFUNCS = {name: ufunc for name in dir(np) if isinstance(ufunc := getattr(np, name), np.ufunc)}
CASES = [(name, kind) for name, ufunc in UFUNCS.items() for kind in KINDS if HALF in loop(ufunc, kind)]


def operands(ufunc, kind):
    """Every value, in pairs with some."""
    values = np.arange(2 if kind.kind == "b" else 256).astype(kind)
    return (values,) if ufunc.nin == 1 else (values[:, None], values[:: 5 if len(values) > 2 else 1])


def as_arrays(xs):
    return tuple(x if x.dtype == np.int8 else dr.asarray(x) for x in xs)


def in_loop(ufunc, kind, wide):
    return tuple(wide if dtype == HALF else dtype for dtype in loop(ufunc, kind))


def assert_close(got, exact, steps=1):
    """As close as so many of NumPy's own functions, one on the other, come."""
    assert np.all(tolerance.ulps(got, exact) <= steps * tolerance.NUMPYS_ULPS)


def check(name, kind, got, xs):
    # What is about the distance of numbers is about that of float32's.
    wide = np.dtype("float32" if name in ("nextafter", "spacing") else "float64")
    with reference.quiet():
        want = UFUNCS[name](*xs, signature=in_loop(UFUNCS[name], kind, wide))
    many = isinstance(want, tuple)
    for one, exact in zip(got if many else (got,), want if many else (want,), strict=True):
        assert type(one) is dr.Array
        if exact.dtype.kind != "f":
            np.testing.assert_array_equal(np.asarray(one), exact)
            continue
        assert one.dtype == np.float32
        assert one.shape == exact.shape
        assert_close(one, exact)


def test_there_are_cases():
    assert len({name for name, _ in CASES}) > 40
    assert {"sinh", "exp2", "hypot", "logaddexp", "ldexp", "frexp", "exp"} <= {name for name, _ in CASES}


@pytest.mark.parametrize(("name", "kind"), CASES, ids=str)
def test_functions_compute_in_float32(name, kind):
    xs = operands(UFUNCS[name], kind)
    with reference.quiet():
        if kind != np.int8:
            check(name, kind, UFUNCS[name](*as_arrays(xs)), xs)
        elif UFUNCS[name] in _functions.FUNCTIONS:  # a kernel of our own, and no int8 for it
            return
        if hasattr(dr, name):
            check(name, kind, getattr(dr, name)(*as_arrays(xs)), xs)
            check(name, kind, getattr(dr, name)(*xs), xs)


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[1] != np.int8], ids=str)
def test_options_too(name, kind):
    ufunc, xs = UFUNCS[name], operands(UFUNCS[name], kind)
    if ufunc.nout > 1 or loop(ufunc, kind)[-1] != HALF:
        return
    shape = np.broadcast_shapes(*(x.shape for x in xs))
    for module in (np, dr) if hasattr(dr, name) else (np,):
        out = dr.zeros(shape, np.float32)
        with reference.quiet():
            assert getattr(module, name)(*as_arrays(xs), out=out, where=np.True_) is out
        check(name, kind, out, xs)


def test_the_values_of_the_finding():
    def u(*values):
        return dr.asarray(np.array(values, np.uint8))

    with np.errstate(all="raise"):  # nothing overflows on the way either
        assert dr.exp2(u(17)).item() == 131072.0
        assert_close(dr.sinh(u(7)), np.sinh([7.0]))
        assert_close(dr.hypot(u(200), u(201)), np.hypot([200.0], [201.0]))
        assert_close(dr.hypot(u(200), [True]), np.hypot([200.0], [1.0]))
        assert_close(dr.arctan2(u(200), 7), np.arctan2([200.0], [7.0]))


def test_methods_of_the_ufuncs():
    x = np.array([3, 200, 7, 90], np.uint8)
    a, wide = dr.asarray(x), x.astype(np.float64)
    for name in ("hypot", "logaddexp"):
        ufunc = getattr(np, name)
        for got, want in [
            (ufunc.outer(a, a), ufunc.outer(wide, wide)),
            (ufunc.reduce(a), ufunc.reduce(wide)),
            (ufunc.accumulate(a), ufunc.accumulate(wide)),
            (ufunc.reduceat(a, [0, 2]), ufunc.reduceat(wide, [0, 2])),
        ]:
            assert got.dtype == np.float32
            assert_close(got, want, steps=len(x) - 1)


def test_a_dtype_that_is_given_is_kept():
    a = dr.asarray(np.array([7], np.uint8))
    assert np.sinh(a, dtype=np.float64).item() == np.sinh(7.0)
    assert np.sinh(a, signature="d->d").item() == np.sinh(7.0)
    assert np.sinh(a, dtype=np.float16).item() == np.sinh(np.float16(7))


@pytest.mark.parametrize("name", ["sqrt", "log", "log2", "log10"])
def test_numpy_s_other_functions(name):
    x = np.array([200, 101, 3, 251], np.uint8)
    got = getattr(np.emath, name)(dr.asarray(x))
    assert got.dtype == np.float32
    assert_close(got, getattr(np.emath, name)(x.astype(np.float64)))


def test_other_libraries_ufuncs():
    scipy = pytest.importorskip("scipy")
    pytest.importorskip("scipy.special")
    x = np.arange(20, dtype=np.uint8)
    got = scipy.special.log1p(dr.asarray(x)), scipy.special.expit(dr.asarray(x))
    for one, want in zip(got, (np.log1p(x * 1.0), 1 / (1 + np.exp(-1.0 * x))), strict=True):
        assert_close(one, want)
