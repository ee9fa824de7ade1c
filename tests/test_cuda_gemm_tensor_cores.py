"""gemm_mma.cuh and gemm_hopper.cu against float64 NumPy (tests/tensor_cores.py): on the emulated GPU, or on this
machine's if nvcc is here. What is one kernel's alone is in test_cuda_gemm_mma.py and test_cuda_gemm_hopper.py."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference
import tolerance
from tensor_cores import PRECISIONS
from test_gemm import ADVERSARIAL, CANARY, TRANSPOSES, Matrix, adversarial, check, operands, output
from test_gemm_bf16 import SPECIAL, bfloat16, integers

pytestmark = pytest.mark.slow  # compiles the kernels first

each_precision = pytest.mark.parametrize("precision", PRECISIONS)
each_transpose = pytest.mark.parametrize(("trans_a", "trans_b"), TRANSPOSES)


@pytest.fixture(params=["mma", "hopper"])
def product(request):
    """Each of the kernels in turn."""
    return request.getfixturevalue(request.param)


SHAPES = [
    *((1, 1, 1), (15, 17, 16), (17, 15, 33), (64, 128, 64), (65, 129, 63), (127, 127, 31), (127, 127, 65)),
    *((129, 130, 70), (129, 130, 130), (128, 256, 1), (63, 257, 128), (200, 40, 330), (300, 300, 100)),
    *((1, 400, 129), (193, 1, 70), (132, 260, 36)),
]


@each_precision
@each_transpose
def test_small_integers_are_exact(product, precision, trans_a, trans_b):
    """Nothing rounds, so one element in the wrong place or a term too many shows; no canary is touched."""
    rng = np.random.default_rng(3)
    plans = itertools.cycle(product.plans(precision))
    for number, (m, n, k) in enumerate(SHAPES):
        pad, offset = (0, 0) if number % 4 == 1 else (number % 3, number % 5)  # aligned once in a while
        a = Matrix(integers(rng, (k, m) if trans_a else (m, k)), np.float32, pad, offset)
        b = Matrix(integers(rng, (n, k) if trans_b else (k, n)), np.float32, pad, offset)
        c = output(m, n, np.float32, pad, offset)
        options = {"precision": precision, "trans_a": trans_a, "trans_b": trans_b}
        product.gemm(a.view, b.view, c.view, plan=product.fitting(next(plans), k), **options)
        wide_a, wide_b = a.view.astype(float), b.view.astype(float)
        want = (wide_a.T if trans_a else wide_a) @ (wide_b.T if trans_b else wide_b)
        assert np.array_equal(c.view, want), (m, n, k)
        c.check_canaries()


@each_precision
@each_transpose
def test_product(product, precision, trans_a, trans_b):
    rng = np.random.default_rng(1)
    scalars = [(1.0, 0.0), (1.0, 1.0), (-2.0, -0.5), (0.0, 1.0), (0.25, 1.0)]
    shapes = [(130, 132, 70), (64, 129, 200), (200, 300, 5), (70, 60, 1000), (129, 50, 64), (70, 90, 1000)]
    plans = itertools.cycle(product.plans(precision))
    for number, (m, n, k) in enumerate(shapes):
        alpha, beta = scalars[number % len(scalars)]
        pad, offset = number % 3, number % 5
        a, b, wide_a, wide_b = operands(rng, m, n, k, np.float32, trans_a, trans_b, pad, offset)
        # NaN in C must not spread when beta is 0.
        c = output(m, n, np.float32, pad, offset, np.nan if beta == 0 else rng.standard_normal((m, n)))
        old = np.zeros((m, n)) if beta == 0 else c.view.astype(np.float64)
        options = {
            "precision": precision,
            "trans_a": trans_a,
            "trans_b": trans_b,
            "alpha": alpha,
            "beta": beta,
        }
        product.gemm(a, b, c.view, plan=product.fitting(next(plans), k), **options)
        want = alpha * (wide_a @ wide_b) + beta * old
        bound = tolerance.gemm(alpha * wide_a, wide_b, k, np.float32, want, precision)
        check(c.view, want, bound + tolerance.rounded(3, beta * old, np.float32))
        c.check_canaries()


@each_transpose
def test_operands_are_rounded_to_nearest_even(product, trans_a, trans_b):
    """One plane: float32's bound, and what cutting off its sums adds, hold for operands as NumPy rounds them."""
    rng = np.random.default_rng(2)
    for m, n, k in [(100, 130, 300), (60, 64, 16)]:
        a, b, _, _ = operands(rng, m, n, k, np.float32, trans_a, trans_b)
        for x in (a, b):  # half of the elements lie in the middle between two bfloat16 numbers
            bits, ties = x.view(np.uint32), rng.random(x.shape) < 0.5
            bits[ties] = bits[ties] & np.uint32(0xFFFF0000) | np.uint32(0x8000)
        got = np.empty((m, n), np.float32)
        product.gemm(a, b, got, plan=product.simple, precision="medium", trans_a=trans_a, trans_b=trans_b)
        wide_a, wide_b = bfloat16(a).astype(np.float64), bfloat16(b).astype(np.float64)
        wide_a, wide_b = wide_a.T if trans_a else wide_a, wide_b.T if trans_b else wide_b
        want = wide_a @ wide_b
        check(got, want, tolerance.gemm(wide_a, wide_b, k, np.float32, want) * (1 + np.sqrt(k) / 4))


@each_precision
@pytest.mark.parametrize("kind", [*ADVERSARIAL, "ties"])
def test_adversarial_data(product, precision, kind):
    rng = np.random.default_rng(4)
    for (m, n, k), plan in [((60, 90, 200), product.large), ((130, 70, 1033), product.split)]:
        a, b = adversarial(rng, kind, m, n, k, np.float32)
        got = np.empty((m, n), np.float32)
        product.gemm(a, b, got, plan=plan, precision=precision)
        want = a.astype(float) @ b.astype(float)
        check(got, want, tolerance.gemm(a.astype(float), b.astype(float), k, np.float32, want, precision))


@each_precision
def test_scaled_integers_are_exact_over_the_whole_range(product, precision):
    """2^s A times 2^t B: planes within their limits, float32 beyond them, no result flushed or overflown."""
    rng = np.random.default_rng(5)
    m, n, k = 64, 70, 100
    a, b = integers(rng, (m, k)), integers(rng, (k, n))
    exact = a.astype(float) @ b.astype(float)  # at most 6400
    exponents = [-149, -130, -126, -118, -110, -103, -75, -60, -50, 0, 40, 60, 113, 124]
    for s, t in itertools.product(exponents, repeat=2):
        if s + t < -149 or s + t > 127 - 13 or max(s, t) > 124:
            continue
        x, y = np.ldexp(a, s).astype(np.float32), np.ldexp(b, t).astype(np.float32)
        got = np.empty((m, n), np.float32)
        product.gemm(x, y, got, plan=product.simple, precision=precision)
        assert np.array_equal(got, np.ldexp(exact, s + t).astype(np.float32)), (s, t)


@each_precision
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(product, precision, name):
    """One such element, in either operand: exactly the elements NumPy makes inf or NaN are so, the others float32's.

    In place: what becomes of C happens once, whichever way its product was made.
    """
    rng = np.random.default_rng(6)
    m, n, k = 70, 140, 130
    plans = product.plans(precision)
    for number, (trans_a, trans_b) in enumerate(TRANSPOSES):
        a, b, wide_a, wide_b = operands(rng, m, n, k, np.float32, trans_a, trans_b, pad=1)
        x = (a, b)[number % 2]
        x[x.shape[0] // 2, x.shape[1] // 3] = SPECIAL[name]
        wide_a, wide_b = a.astype(float), b.astype(float)
        wide_a, wide_b = wide_a.T if trans_a else wide_a, wide_b.T if trans_b else wide_b
        w = output(m, n, np.float32, 1, 1, rng.standard_normal((m, n)))
        old = w.view.astype(np.float64)
        plan = plans[number % len(plans)]
        options = {
            "precision": precision,
            "trans_a": trans_a,
            "trans_b": trans_b,
            "plan": product.fitting(plan, k),
        }
        product.gemm(a, b, w.view, epilogue="sgd", lr=1.0, **options)
        with np.errstate(all="ignore"):
            exact = wide_a @ wide_b
            want = (old - exact).astype(np.float32)
        for test in (np.isnan, np.isposinf, np.isneginf):
            assert np.array_equal(test(w.view), test(want))
        finite = np.isfinite(want)
        with np.errstate(all="ignore"):
            # Planes hold what is tiny, if nothing it meets is small.
            allowed = "highest" if product.redoes_all and name != "tiny" else precision
            bound = tolerance.gemm(wide_a, wide_b, k, np.float32, exact, allowed)
            bound += tolerance.rounded(4, old, np.float32)
        check(w.view[finite], want[finite].astype(float), bound[finite])
        w.check_canaries()


@each_precision
def test_sums_that_overflow_give_float32_s_infinities(product, precision):
    a = np.full((64, 100), 1e19, np.float32)
    b = np.full((100, 70), 2e18, np.float32)  # 100 times 2e37: beyond 3.4e38
    b[:, 35:] = 2e16
    got = np.empty((64, 70), np.float32)
    product.gemm(a, b, got, plan=product.simple, precision=precision)
    assert np.all(np.isposinf(got[:, :35]))
    assert np.all(np.isfinite(got[:, 35:]))

    below = np.float32(2.0**63 * (2 - 2.0**-10))  # its square is finite, that of its highest plane is not
    a, b = np.zeros((64, 100), np.float32), np.zeros((100, 70), np.float32)
    a[:, 3], b[3] = below, below
    product.gemm(a, b, got, plan=product.simple, precision=precision)
    assert np.all(got == below * below)


@each_precision
@pytest.mark.parametrize("name", ["linear", "tanh", "gelu"])
def test_bias_act(product, precision, name):
    rng = np.random.default_rng(7)
    for (m, n, k), plan, aligned in [
        ((100, 70, 130), product.large, False),
        ((130, 132, 100), product.aligned, True),
    ]:
        a, b, wide_a, wide_b = operands(rng, m, n, k, np.float32, False, True)
        a /= np.float32(np.sqrt(k))
        wide_a = a.astype(np.float64)
        bias = rng.standard_normal(n).astype(np.float32)
        pads = (0, 0, 0, 0) if aligned else (3, 1, 2, 5)
        before = rng.standard_normal((m, n)).astype(np.float32)
        for beta in (0.0, 1.0):
            c, z = output(m, n, np.float32, *pads[:2], before), output(m, n, np.float32, *pads[2:])
            options = {"epilogue": "bias_act", "activation": name, "slope": 0.3, "bias": bias, "beta": beta}
            options |= {"trans_b": True, "alpha": 0.5, "precision": precision, "plan": plan}
            product.gemm(a, b, c.view, z=z.view, **options)
            want = 0.5 * (wide_a @ wide_b) + bias + beta * before
            slack = tolerance.rounded(3, np.abs(want) + np.abs(bias) + np.abs(before), np.float32)
            check(z.view, want, tolerance.gemm(0.5 * wide_a, wide_b, k, np.float32, want, precision) + slack)
            want = reference.activation(name, z.view, 0.3)
            check(c.view, want, tolerance.rounded(8, want, np.float32))
            c.check_canaries()
            z.check_canaries()
            without_z = output(m, n, np.float32, *pads[:2], before)
            product.gemm(a, b, without_z.view, **options)
            assert np.array_equal(without_z.view, c.view)


@each_precision
@pytest.mark.parametrize("name", ["linear", "tanh", "gelu"])
def test_backprop(product, precision, name):
    rng = np.random.default_rng(8)
    for (m, n, k), plan, aligned in [
        ((100, 70, 130), product.aligned, False),
        ((330, 132, 100), product.plans(precision)[-3], True),
    ]:
        a, b, wide_a, wide_b = operands(rng, m, n, k, np.float32, False, True)
        z = Matrix(rng.standard_normal((m, n)), np.float32, *((0, 0) if aligned else (1, 1)))
        y = Matrix(reference.activation(name, z.view, 0.0), np.float32, *((0, 0) if aligned else (2, 2)))
        c = output(m, n, np.float32, *((0, 0) if aligned else (3, 1)))
        db = np.full(n + 1, CANARY, np.float32)
        options = {"epilogue": "backprop", "activation": name, "y": y.view, "z": z.view, "trans_b": True}
        options |= {"precision": precision, "plan": plan}
        product.gemm(a, b, c.view, db=db[:n], **options)
        slope = reference.activation_derivative(name, z.view, 0.0).astype(np.float64)
        exact = wide_a @ wide_b
        bound = tolerance.gemm(wide_a, wide_b, k, np.float32, exact, precision) * np.abs(slope)
        size = exact * np.maximum(1, np.abs(slope))
        check(c.view, exact * slope, bound + tolerance.rounded(16, size, np.float32))
        terms = c.view.astype(np.float64)
        check(db[:n], terms.sum(0), tolerance.summed(terms, np.float32))
        assert db[n] == CANARY
        c.check_canaries()


@pytest.mark.parametrize("splits", [1, 2])
@pytest.mark.parametrize(("momentum", "nesterov"), [(None, False), (0.9, False), (0.9, True)])
def test_sgd(product, momentum, nesterov, splits):
    """dW = x^T dy and the update; the rate from the arguments, and from the state, which also stops it."""
    rng = np.random.default_rng(9)
    lr, decay = 0.1, 0.01
    for number, (m, n, k) in enumerate([(100, 70, 65), (130, 132, 100)]):
        precision, state = PRECISIONS[number], (lr, 0) if number else None
        x, dy, wide_x, wide_dy = operands(rng, m, n, k, np.float32, True, False)
        pads = (0, 0) if number else (3, 1)
        w = output(m, n, np.float32, *pads, rng.standard_normal((m, n)))
        old = w.view.astype(np.float64)
        gradient = wide_x.astype(np.float64) @ wide_dy + decay * old
        update, velocity, size = gradient, None, np.abs(gradient) + np.abs(old)
        if momentum is not None:
            velocity = output(m, n, np.float32, *pads, rng.standard_normal((m, n)))
            old_velocity = velocity.view.astype(np.float64)
            want_velocity = momentum * old_velocity + gradient
            update = gradient + momentum * want_velocity if nesterov else want_velocity
            size += np.abs(old_velocity)
        options = {"trans_a": True, "epilogue": "sgd", "weight_decay": decay, "momentum": momentum or 0.0}
        options |= {"nesterov": nesterov, "velocity": None if velocity is None else velocity.view}
        options |= {
            "precision": precision,
            "plan": (product.plans(precision)[0][0], splits),
            "lr": 0.0 if state else lr,
        }
        product.gemm(x, dy, w.view, state=state, **options)
        bound = tolerance.gemm(wide_x, wide_dy, k, np.float32, gradient, precision)
        slack = tolerance.rounded(4, size, np.float32)
        check(w.view, old - lr * update, 2 * lr * bound + slack)
        w.check_canaries()
        if velocity is not None:
            check(velocity.view, want_velocity, bound + slack)
            velocity.check_canaries()
        before = w.view.copy()
        product.gemm(x, dy, w.view, state=(lr, 1), **options)
        assert np.array_equal(w.view, before)
