"""The functions of csrc/formulas: error in ulp by function and range, special values, derivatives."""

from __future__ import annotations

import kernel_cases as cases
import numpy as np
import pytest
import reference
import tolerance
from deltarule import _core

kernels = _core.kernels

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, -0.5]
NAMES = {
    "unary": (kernels.unary_names, reference.UNARY, tolerance.UNARY_ULPS),
    "binary": (kernels.binary_names, reference.BINARY, None),
    "reductions": (kernels.reduction_names, reference.REDUCTIONS, None),
    "activations": (kernels.activation_names, reference.ACTIVATIONS, tolerance.ACTIVATION_ULPS),
    "losses": (kernels.loss_names, reference.LOSSES, None),
    "optimizers": (kernels.optimizer_names, reference.OPTIMIZERS, None),
}


@pytest.mark.parametrize("kind", NAMES)
def test_every_entry_has_an_oracle_and_a_tolerance(kind):
    names, oracle, ulps = NAMES[kind]
    assert set(names) == set(oracle)
    assert ulps is None or set(names) == set(ulps)


def points(dtype, low, high, n=60_000):
    """Even over [low, high], every magnitude towards 0, and the ends."""
    rng = np.random.default_rng(7)
    tiny = rng.choice([-1.0, 1.0], n // 4) * np.exp2(rng.uniform(-70, 4, n // 4))
    x = np.concatenate([rng.uniform(low, high, n), tiny, np.linspace(low, high, 1001)])
    return x[(x >= low) & (x <= high)].astype(dtype)


def special(dtype):
    """Zeros, infinities, NaN, the ends of the number range, subnormals, each with its neighbours."""
    limits = np.finfo(dtype)
    ends = [
        limits.max,
        limits.smallest_normal,
        limits.smallest_subnormal,
        5 * limits.smallest_subnormal,
        limits.eps,
    ]
    x = np.array(SPECIAL + [sign * end for end in ends for sign in (1, -1)], dtype)
    big = np.array(
        [s * v for v in (15, 89, 104, 110, 121, 710, 746, 801, 1e4, 1e9, 1e30) for s in (1, -1)], dtype
    )
    with np.errstate(all="ignore"):
        x = np.concatenate([x, big])
        return np.concatenate([x, np.nextafter(x, dtype(np.inf)), np.nextafter(x, dtype(-np.inf))])


def unary(name, x):
    y = np.full_like(x, 99)
    kernels.unary(name, x, y)
    return y


@pytest.fixture(scope="module")
def exact():
    """Oracle values by (function, dtype), computed once for all instruction sets."""
    known = {}

    def get(kind, name, dtype, x, f):
        key = (kind, name, dtype)
        if key not in known:
            known[key] = f(x)
        return known[key]

    return get


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", kernels.unary_names)
def test_unary_error_in_ulp(isa, name, dtype, exact):
    single, full, bound = tolerance.UNARY_ULPS[name]
    x = points(dtype, *(single if dtype is np.float32 else full))
    with reference.quiet():
        errors = tolerance.ulps(
            unary(name, x), exact("unary", name, dtype, x, lambda x: reference.UNARY[name](reference.wide(x)))
        )
    worst = np.argmax(errors)
    assert errors[worst] <= bound, f"{errors[worst]:.2f} ulp at {x[worst]!r}"


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", kernels.unary_names)
def test_unary_special_values(isa, name, dtype):
    x = special(dtype)
    y = unary(name, x)
    with reference.quiet():
        want = reference.UNARY[name](reference.wide(x))
        assert np.all(tolerance.ulps(y, want) <= max(1, tolerance.UNARY_ULPS[name][2]))
        zeros = (x == 0) & (want == 0) & (name != "sign")
    assert np.array_equal(np.signbit(y[zeros]), np.signbit(want[zeros]))


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_sigmoid_is_exact_where_its_value_is_a_float(isa, dtype):
    x = np.array([0.0, -0.0, np.inf, -np.inf, 104, 1e30, -1e30], dtype)
    assert unary("sigmoid", x).tolist() == [0.5, 0.5, 1.0, 0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", kernels.activation_names)
def test_activation_and_derivative(isa, name, dtype, exact):
    reach = 13.0 if dtype is np.float32 else 37.0  # gelu's tail is subnormal beyond
    x = points(dtype, -reach, reach, 20_000)
    slope = 0.25
    ulps, derivative = tolerance.ACTIVATION_ULPS[name]
    y, dx = np.full_like(x, np.nan), np.full_like(x, np.nan)
    kernels.activate(name, x, y, slope)
    kernels.activate_grad(name, np.ones_like(x), x, y, dx, slope)
    want = exact("f", name, dtype, x, lambda x: reference.activation(name, x, slope))
    errors = tolerance.ulps(y, want)
    assert np.all(errors <= ulps), f"{errors.max():.2f} ulp at {x[errors.argmax()]!r}"
    want = exact("df", name, dtype, x, lambda x: reference.activation_derivative(name, x, slope))
    errors = np.abs(dx - want) / np.finfo(dtype).eps / np.maximum(1, np.abs(want))
    assert np.all(errors <= derivative), f"{errors.max():.2f} eps at {x[errors.argmax()]!r}"


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", kernels.activation_names)
def test_activation_special_values(isa, name, dtype):
    """NaN stays NaN, infinities give the limits, nothing in between breaks."""
    x = special(dtype)
    y, dx = np.full_like(x, 99), np.full_like(x, 99)
    kernels.activate(name, x, y, 0.25)
    kernels.activate_grad(name, np.ones_like(x), x, y, dx, 0.25)
    want = reference.activation(name, x, 0.25)
    # gelu ends in subnormal numbers, x times a subnormal tail: absolute there.
    slack = 64 * np.finfo(dtype).smallest_subnormal if name == "gelu" else 0
    with reference.quiet():
        near = np.abs(y - want) <= slack
    assert np.all(near | (tolerance.ulps(y, want) <= max(1, tolerance.ACTIVATION_ULPS[name][0])))
    numbers = ~np.isnan(x)
    assert np.all(np.isfinite(dx[numbers]))
    want = reference.activation_derivative(name, x[numbers], 0.25)
    assert np.all(
        np.abs(dx[numbers] - want) <= max(1, tolerance.ACTIVATION_ULPS[name][1]) * np.finfo(dtype).eps * 2
    )


def test_derivative_does_not_look_at_x_unless_it_needs_it():
    y = np.linspace(0.1, 0.9, 7, dtype=np.float32)
    for name in kernels.activation_names:
        dx = np.empty_like(y)
        if name in ("gelu", "gaussian"):
            with pytest.raises(ValueError, match=f"{name} needs x"):
                kernels.activate_grad(name, y, None, y, dx, 0.5)
        else:
            kernels.activate_grad(name, y, None, y, dx, 0.5)
            assert np.all(np.isfinite(dx))
