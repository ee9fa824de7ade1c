"""online: the way back for one row, in one pass over W, on every instruction set against float64 NumPy."""

from __future__ import annotations

import kernel_cases as cases
import numpy as np
import pytest
import reference
import tolerance
from deltarule import _core

pytestmark = pytest.mark.sanitize

online = _core.kernels.online
SIZES = [
    (1, 1),
    (3, 5),
    (64, 64),
    (65, 10),
    (7, 16),
    (130, 100),
    (40, 255),
    (33, 257),
    (20, 300),
    (50, 0),
    (0, 9),
]


def problem(rng, inputs, outputs, dtype, start=0):
    arrays = [(inputs,), (outputs,), (inputs, outputs), (inputs, outputs)]
    return [cases.moved(rng.standard_normal(shape).astype(dtype), start) for shape in arrays]


@pytest.mark.parametrize(("momentum", "nesterov"), [(None, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_update_and_dx(isa, dtype, momentum, nesterov, weight_decay):
    """dx comes from the weights as they were; both are right at every width and start."""
    rng = np.random.default_rng(0)
    for number, (inputs, outputs) in enumerate(SIZES):
        start = cases.STARTS[number % len(cases.STARTS)]
        x, dz, values, speed = problem(rng, inputs, outputs, dtype, start)
        w, dx = cases.Guarded((inputs, outputs), dtype, start), cases.Guarded((inputs,), dtype, start)
        velocity = cases.Guarded((inputs, outputs), dtype, start)
        w.array[...], velocity.array[...] = values, speed
        moving = {} if momentum is None else {"velocity": velocity.array, "momentum": momentum}
        online(x, dz, w.array, lr=0.1, weight_decay=weight_decay, nesterov=nesterov, dx=dx.array, **moving)

        wide_w, wide_dz = values.astype(np.float64), dz.astype(np.float64)
        gradient = np.outer(x.astype(np.float64), wide_dz) + weight_decay * wide_w
        want_dx = wide_w @ wide_dz
        bound = tolerance.gemm(wide_w, wide_dz[:, None], outputs, dtype, want_dx[:, None])[:, 0]
        cases.within(dx.check(), want_dx, bound)
        update, size = gradient, np.abs(gradient) + np.abs(wide_w)
        if momentum is not None:
            want = momentum * speed.astype(np.float64) + gradient
            size = size + np.abs(speed)
            cases.within(velocity.check(), want, tolerance.rounded(4, size, dtype))
            update = gradient + momentum * want if nesterov else want
        cases.within(w.check(), wide_w - 0.1 * update, tolerance.rounded(4, size, dtype))


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "linear"])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_through_the_activation_below(isa, dtype, name):
    rng = np.random.default_rng(1)
    for inputs, outputs in [(37, 10), (100, 64), (5, 300)]:
        x, dz, w, _ = problem(rng, inputs, outputs, dtype)
        z = rng.standard_normal(inputs).astype(dtype)
        y = reference.activation(name, z, 0.0).astype(dtype)
        want = w.astype(np.float64) @ dz.astype(np.float64)
        derivative = reference.activation_derivative(name, z, 0.0).astype(np.float64)
        dx, db = cases.Guarded((inputs,), dtype), cases.Guarded((inputs,), dtype)
        bound = tolerance.gemm(
            w.astype(np.float64), dz.astype(np.float64)[:, None], outputs, dtype, want[:, None]
        )
        online(x, dz, w, lr=0.1, dx=dx.array, activation=name, z=z, y=y, db=db.array)
        near = tolerance.rounded(16, want * np.maximum(1, np.abs(derivative)), dtype)
        cases.within(dx.check(), want * derivative, bound[:, 0] * np.abs(derivative) + near)
        assert np.array_equal(db.check(), dx.array)


@pytest.mark.parametrize("outputs", [10, 64, 300])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_rows_of_zero_input(isa, dtype, outputs):
    """They stay, unless dz has an inf or NaN: 0 times that is NaN."""
    rng = np.random.default_rng(2)
    x, dz, w, _ = problem(rng, 90, outputs, dtype)
    x[rng.random(90) < 0.7] = 0
    for special in (0.5, np.inf, np.nan):
        dz[3] = special
        got = w.copy()
        online(x, dz, got, lr=0.25)
        with np.errstate(invalid="ignore"):
            want = w - 0.25 * np.outer(x.astype(np.float64), dz.astype(np.float64))
        cases.within(got, want, tolerance.rounded(4, np.abs(w) + np.abs(np.nan_to_num(want)), dtype))


@pytest.mark.parametrize("outputs", [10, 96, 700])
def test_same_bits_for_any_number_of_threads(isa, outputs, threads):
    rng = np.random.default_rng(3)
    x, dz, w, _ = problem(rng, 900, outputs, np.float32)
    y = np.tanh(x)
    results = []
    for count in (1, 2, 3, 5):
        threads(count)
        got, dx, db = w.copy(), np.empty_like(x), np.empty_like(x)
        online(x, dz, got, lr=0.1, dx=dx, activation="tanh", y=y, db=db)
        results.append(got.tobytes() + dx.tobytes() + db.tobytes())
    assert len(set(results)) == 1


def test_raw_binding_refuses_what_would_leave_the_arrays(one_line):
    x, dz, w = np.ones(4, np.float32), np.ones(3, np.float32), np.ones((4, 3), np.float32)
    with one_line(ValueError, "online: w is not a contiguous array of 15"):
        online(np.ones(5, np.float32), dz, w, lr=0.1)
    with one_line(TypeError, "online: dx has another dtype than x"):
        online(x, dz, w, lr=0.1, dx=np.ones(4))
    with one_line(ValueError, "online: gelu needs z"):
        online(x, dz, w, lr=0.1, dx=x.copy(), y=x.copy(), activation="gelu")
