"""gemm_hopper.cu against float64 NumPy: on the emulated GPU, or on a Hopper GPU if nvcc and one are here.

The kernels are called directly (tests/hopper.py), whether they pay or not: what they do at edges shows on shapes that
are too small for them to be chosen.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import hopper as hopper_module
import numpy as np
import pytest
import reference
import tolerance
from deltarule import _core
from hopper import PRECISIONS, Hopper
from test_gemm import ADVERSARIAL, CANARY, TRANSPOSES, Matrix, adversarial, check, operands, output
from test_gemm_bf16 import SPECIAL, bfloat16, integers

pytestmark = pytest.mark.slow  # compiles the kernels first

each_precision = pytest.mark.parametrize("precision", PRECISIONS)
each_transpose = pytest.mark.parametrize(("trans_a", "trans_b"), TRANSPOSES)


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    built = hopper_module.build(tmp_path_factory.mktemp("hopper"))
    if built is None:
        pytest.skip("no g++")
    return built


@pytest.fixture(scope="session")
def hopper(library):
    return Hopper(library)


def plans(precision):
    """Tiles of 64 to 256 columns are multiplied by the same code but for their number, K splits in any case."""
    if precision == "medium":
        return [(128, 1), (256, 1), (256, 2), (128, 3)]
    return [(128, 1), (128, 2), (128, 3)]


def fitting(plan, k):
    """No more splits than blocks of K."""
    return plan[0], min(plan[1], -(-k // 64))


SHAPES = [
    (1, 1, 1),
    (64, 128, 64),
    (65, 129, 63),
    (127, 127, 65),
    (129, 130, 130),
    (128, 256, 1),
    (63, 257, 128),
    (200, 40, 330),
    (300, 300, 100),
    (1, 400, 129),
    (193, 1, 70),
]


@each_precision
@each_transpose
def test_small_integers_are_exact(hopper, precision, trans_a, trans_b):
    """Nothing rounds, so one element in the wrong place or a term too many shows; no canary is touched."""
    rng = np.random.default_rng(3)
    plan = itertools.cycle(plans(precision))
    for number, (m, n, k) in enumerate(SHAPES):
        pad, offset = (0, 0) if number % 4 == 1 else (number % 3, number % 5)  # aligned once in a while
        a = Matrix(integers(rng, (k, m) if trans_a else (m, k)), np.float32, pad, offset)
        b = Matrix(integers(rng, (n, k) if trans_b else (k, n)), np.float32, pad, offset)
        c = output(m, n, np.float32, pad, offset)
        options = {"precision": precision, "trans_a": trans_a, "trans_b": trans_b}
        hopper.gemm(a.view, b.view, c.view, plan=fitting(next(plan), k), **options)
        wide_a, wide_b = a.view.astype(float), b.view.astype(float)
        want = (wide_a.T if trans_a else wide_a) @ (wide_b.T if trans_b else wide_b)
        assert np.array_equal(c.view, want), (m, n, k)
        c.check_canaries()


@each_precision
@each_transpose
def test_product(hopper, precision, trans_a, trans_b):
    rng = np.random.default_rng(1)
    scalars = [(1.0, 0.0), (1.0, 1.0), (-2.0, -0.5), (0.0, 1.0), (0.25, 1.0)]
    shapes = [(130, 132, 70), (64, 129, 200), (200, 300, 5), (70, 60, 1000), (129, 50, 64), (70, 90, 1000)]
    plan = itertools.cycle(plans(precision))
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
        hopper.gemm(a, b, c.view, plan=fitting(next(plan), k), **options)
        want = alpha * (wide_a @ wide_b) + beta * old
        bound = tolerance.gemm(alpha * wide_a, wide_b, k, np.float32, want, precision)
        check(c.view, want, bound + tolerance.rounded(3, beta * old, np.float32))
        c.check_canaries()


@each_transpose
def test_operands_are_rounded_to_nearest_even(hopper, trans_a, trans_b):
    """One plane: float32's bound, and what cutting off its sums adds, hold for operands as NumPy rounds them."""
    rng = np.random.default_rng(2)
    for m, n, k in [(100, 130, 300), (60, 64, 16)]:
        a, b, _, _ = operands(rng, m, n, k, np.float32, trans_a, trans_b)
        for x in (a, b):  # half of the elements lie in the middle between two bfloat16 numbers
            bits, ties = x.view(np.uint32), rng.random(x.shape) < 0.5
            bits[ties] = bits[ties] & np.uint32(0xFFFF0000) | np.uint32(0x8000)
        got = np.empty((m, n), np.float32)
        hopper.gemm(a, b, got, plan=(128, 1), precision="medium", trans_a=trans_a, trans_b=trans_b)
        wide_a, wide_b = bfloat16(a).astype(np.float64), bfloat16(b).astype(np.float64)
        wide_a, wide_b = wide_a.T if trans_a else wide_a, wide_b.T if trans_b else wide_b
        want = wide_a @ wide_b
        check(got, want, tolerance.gemm(wide_a, wide_b, k, np.float32, want) * (1 + np.sqrt(k) / 4))


@each_precision
@pytest.mark.parametrize("kind", [*ADVERSARIAL, "ties"])
def test_adversarial_data(hopper, precision, kind):
    rng = np.random.default_rng(4)
    for (m, n, k), plan in [((60, 90, 200), (128, 1)), ((130, 70, 1033), (128, 3))]:
        a, b = adversarial(rng, kind, m, n, k, np.float32)
        got = np.empty((m, n), np.float32)
        hopper.gemm(a, b, got, plan=plan, precision=precision)
        want = a.astype(float) @ b.astype(float)
        check(got, want, tolerance.gemm(a.astype(float), b.astype(float), k, np.float32, want, precision))


@each_precision
def test_scaled_integers_are_exact_over_the_whole_range(hopper, precision):
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
        hopper.gemm(x, y, got, plan=(128, 1), precision=precision)
        assert np.array_equal(got, np.ldexp(exact, s + t).astype(np.float32)), (s, t)


@each_precision
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(hopper, precision, name):
    """One such element, in either operand: exactly the elements NumPy makes inf or NaN are so, the others float32's.

    In place: what becomes of C happens once, whichever way its product was made.
    """
    rng = np.random.default_rng(6)
    m, n, k = 70, 140, 100
    for operand, (trans_a, trans_b) in zip((0, 1, 0, 1), TRANSPOSES, strict=True):
        a, b, wide_a, wide_b = operands(rng, m, n, k, np.float32, trans_a, trans_b, pad=1)
        x = (a, b)[operand]
        x[x.shape[0] // 2, x.shape[1] // 3] = SPECIAL[name]
        wide_a, wide_b = a.astype(float), b.astype(float)
        wide_a, wide_b = wide_a.T if trans_a else wide_a, wide_b.T if trans_b else wide_b
        w = output(m, n, np.float32, 1, 1, rng.standard_normal((m, n)))
        old = w.view.astype(np.float64)
        plan = (128, 1 + operand)
        options = {"precision": precision, "trans_a": trans_a, "trans_b": trans_b, "plan": plan}
        hopper.gemm(a, b, w.view, epilogue="sgd", lr=1.0, **options)
        with np.errstate(all="ignore"):
            product = wide_a @ wide_b
            want = (old - product).astype(np.float32)
        for test in (np.isnan, np.isposinf, np.isneginf):
            assert np.array_equal(test(w.view), test(want))
        finite = np.isfinite(want)
        with np.errstate(all="ignore"):
            # Planes hold what is tiny, if nothing it meets is small.
            allowed = precision if name == "tiny" else "highest"
            bound = tolerance.gemm(wide_a, wide_b, k, np.float32, product, allowed)
            bound += tolerance.rounded(4, old, np.float32)
        check(w.view[finite], want[finite].astype(float), bound[finite])
        w.check_canaries()


@each_precision
def test_sums_that_overflow_give_float32_s_infinities(hopper, precision):
    a = np.full((64, 100), 1e19, np.float32)
    b = np.full((100, 70), 2e18, np.float32)  # 100 times 2e37: beyond 3.4e38
    b[:, 35:] = 2e16
    got = np.empty((64, 70), np.float32)
    hopper.gemm(a, b, got, plan=(128, 1), precision=precision)
    assert np.all(np.isposinf(got[:, :35]))
    assert np.all(np.isfinite(got[:, 35:]))

    below = np.float32(2.0**63 * (2 - 2.0**-10))  # its square is finite, that of its highest plane is not
    a, b = np.zeros((64, 100), np.float32), np.zeros((100, 70), np.float32)
    a[:, 3], b[3] = below, below
    hopper.gemm(a, b, got, plan=(128, 1), precision=precision)
    assert np.all(got == below * below)


@each_precision
@pytest.mark.parametrize("name", ["linear", "tanh", "gelu"])
def test_bias_act(hopper, precision, name):
    rng = np.random.default_rng(7)
    for (m, n, k), plan, aligned in [((100, 70, 130), (128, 1), False), ((130, 132, 100), (128, 2), True)]:
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
            hopper.gemm(a, b, c.view, z=z.view, **options)
            want = 0.5 * (wide_a @ wide_b) + bias + beta * before
            slack = tolerance.rounded(3, np.abs(want) + np.abs(bias) + np.abs(before), np.float32)
            check(z.view, want, tolerance.gemm(0.5 * wide_a, wide_b, k, np.float32, want, precision) + slack)
            want = reference.activation(name, z.view, 0.3)
            check(c.view, want, tolerance.rounded(8, want, np.float32))
            c.check_canaries()
            z.check_canaries()
            without_z = output(m, n, np.float32, *pads[:2], before)
            hopper.gemm(a, b, without_z.view, **options)
            assert np.array_equal(without_z.view, c.view)


@each_precision
@pytest.mark.parametrize("name", ["linear", "tanh", "gelu"])
def test_backprop(hopper, precision, name):
    rng = np.random.default_rng(8)
    for (m, n, k), plan, aligned in [((100, 70, 130), (128, 1), False), ((330, 132, 100), (128, 2), True)]:
        a, b, wide_a, wide_b = operands(rng, m, n, k, np.float32, False, True)
        z = Matrix(rng.standard_normal((m, n)), np.float32, *((0, 0) if aligned else (1, 1)))
        y = Matrix(reference.activation(name, z.view, 0.0), np.float32, *((0, 0) if aligned else (2, 2)))
        c = output(m, n, np.float32, *((0, 0) if aligned else (3, 1)))
        db = np.full(n + 1, CANARY, np.float32)
        options = {"epilogue": "backprop", "activation": name, "y": y.view, "z": z.view, "trans_b": True}
        options |= {"precision": precision, "plan": plan}
        hopper.gemm(a, b, c.view, db=db[:n], **options)
        slope = reference.activation_derivative(name, z.view, 0.0).astype(np.float64)
        product = wide_a @ wide_b
        bound = tolerance.gemm(wide_a, wide_b, k, np.float32, product, precision) * np.abs(slope)
        size = product * np.maximum(1, np.abs(slope))
        check(c.view, product * slope, bound + tolerance.rounded(16, size, np.float32))
        terms = c.view.astype(np.float64)
        check(db[:n], terms.sum(0), tolerance.summed(terms, np.float32))
        assert db[n] == CANARY
        c.check_canaries()


@pytest.mark.parametrize("splits", [1, 2])
@pytest.mark.parametrize(("momentum", "nesterov"), [(None, False), (0.9, False), (0.9, True)])
def test_sgd(hopper, momentum, nesterov, splits):
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
        options |= {"precision": precision, "plan": (128, splits), "lr": 0.0 if state else lr}
        hopper.gemm(x, dy, w.view, state=state, **options)
        bound = tolerance.gemm(wide_x, wide_dy, k, np.float32, gradient, precision)
        slack = tolerance.rounded(4, size, np.float32)
        check(w.view, old - lr * update, 2 * lr * bound + slack)
        w.check_canaries()
        if velocity is not None:
            check(velocity.view, want_velocity, bound + slack)
            velocity.check_canaries()
        before = w.view.copy()
        hopper.gemm(x, dy, w.view, state=(lr, 1), **options)
        assert np.array_equal(w.view, before)


@each_precision
def test_rows_do_not_depend_on_their_neighbours(hopper, precision):
    rng = np.random.default_rng(11)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((203, 150), (150, 301)))
    whole = np.empty((203, 301), np.float32)
    hopper.gemm(a, b, whole, precision=precision, plan=(128, 1))
    for rows, columns in [(199, 129), (50, 301), (1, 1)]:
        part = np.empty((rows, columns), np.float32)
        hopper.gemm(a[:rows], np.ascontiguousarray(b[:, :columns]), part, precision=precision, plan=(128, 1))
        assert np.array_equal(whole[:rows, :columns], part), (rows, columns)


@each_precision
def test_same_bits_on_any_number_of_multiprocessors(hopper, precision):
    rng = np.random.default_rng(10)
    m, n, k = 300, 260, 450  # more blocks of K in a unit than the ring has room for
    a, b, _, _ = operands(rng, m, n, k, np.float32)
    y = rng.standard_normal((m, n)).astype(np.float32)
    results = []
    for multiprocessors in (1, 2, 5, 0):
        c, db = np.empty((m, n), np.float32), np.empty(n, np.float32)
        options = {"epilogue": "backprop", "activation": "elu", "y": y, "db": db, "plan": (128, 1)}
        hopper.gemm(a, b, c, precision=precision, multiprocessors=multiprocessors, **options)
        results.append(c.tobytes() + db.tobytes())
    assert len(set(results)) == 1


def test_six_products_are_about_as_exact_as_fma(hopper):
    """Root mean square errors of three planes and of float32, K as in the largest net.

    Observed: 0.6 of float32's on normal data; 1.1 on uniform data, where what the tensor cores cut off adds up.
    """
    rng = np.random.default_rng(14)
    for draw in (rng.standard_normal, rng.random):
        a, b = draw((60, 2500)).astype(np.float32), draw((2500, 70)).astype(np.float32)
        exact = a.astype(np.float64) @ b.astype(np.float64)
        planes, chain = np.empty((60, 70), np.float32), np.empty((60, 70), np.float32)
        hopper.gemm(a, b, planes, plan=(128, 1))
        _core.kernels.gemm(a, b, chain)
        errors = [np.sqrt(np.mean((got - exact) ** 2)) for got in (planes, chain)]
        assert errors[0] <= 1.25 * errors[1], errors


@pytest.mark.parametrize(("columns", "splits"), [(128, 1), (256, 1), (128, 5), (256, 3)])
def test_schedule_visits_every_tile_and_block_once(hopper, columns, splits):
    rng = np.random.default_rng(15)
    shapes = [(1, 1, 64 * splits), (1537, 1, 999), (128, 9000, 321), (6000, 5000, 500)]
    shapes += [tuple(int(x) for x in rng.integers(1, 4000, 3)) for _ in range(20)]
    for m, n, k in shapes:
        k = max(k, 64 * splits)
        visits, order = hopper.walk(m, n, k, columns, splits)
        assert np.all(visits == 1), (m, n, k)
        for split in order.reshape(splits, -1):
            assert np.array_equal(np.sort(split), np.arange(len(visits))), (m, n, k)


def test_units_under_way_share_rows_and_columns(hopper):
    """132 tiles in a row of a large product touch about as many rows of tiles as columns."""
    _, order = hopper.walk(8192, 8192, 64, 128, 1)
    for first in range(0, len(order) - 132, 132):
        tiles = order[first : first + 132]
        assert len(set(tiles // 64)) + len(set(tiles % 64)) <= 50  # row by row: 67


def test_plan(hopper):
    """Splits fill the GPU and no more; wide tiles where one set of sums allows them; small products are declined."""
    assert hopper.planned(4096, 4096, 4096, "highest") == (128, 1, 1)
    assert hopper.planned(4096, 4096, 4096, "medium") == (256, 1, 1)
    columns, splits, pays = hopper.planned(512, 1000, 2500, "highest")
    assert columns == 128
    assert 3 <= splits <= 4  # 32 tiles
    assert pays
    for precision in PRECISIONS:
        assert not hopper.planned(100, 100, 100, precision)[2]
        assert not hopper.planned(4096, 1, 4096, precision)[2]
        for m, n, k in [(1, 1, 1), (4000, 4000, 30), (64, 64, 100000)]:
            assert 1 <= hopper.planned(m, n, k, precision)[1] <= max(1, k // 64)


def test_small_products_and_other_gpus_are_declined(hopper, library):
    a = np.zeros((64, 64), np.float32)
    with pytest.raises(AssertionError, match="declined"):
        hopper.gemm(a, a, a.copy())
    if hopper_module.hopper_gpu():
        return
    code = "import numpy as np, sys; from hopper import Hopper; a = np.zeros((64, 64), np.float32)\n"
    code += "Hopper(sys.argv[1]).gemm(a, a, a.copy(), plan=(128, 1))"
    environment = os.environ | {"DELTARULE_EMULATED_CAPABILITY": "8.0"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    result = subprocess.run(
        [sys.executable, "-c", code, library], env=environment, capture_output=True, text=True, check=False
    )
    assert "AssertionError: declined" in result.stderr


@pytest.mark.skipif(hopper_module.hopper_gpu(), reason="the instructions are the GPU's own")
def test_emulated_instructions(hopper, library):
    """Layouts in shared memory; and misuse ends the process, or gives NaN where registers are read too early."""
    assert hopper.library.ptx_hopper_layouts() is None
    code = "import ctypes, sys; library = ctypes.CDLL(sys.argv[1])\n"
    code += "library.ptx_hopper_misuse.restype = ctypes.c_float; print(library.ptx_hopper_misuse(int(sys.argv[2])))"
    messages = {
        1: "no wgmma.fence since",
        3: "accumulators were written",
        4: "an operand in shared memory changed",
        5: "ended before its products were complete",
        6: "disagree on the operands",
    }
    for fault in range(7):
        command = [sys.executable, "-c", code, library, str(fault)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if fault in messages:
            assert result.returncode != 0
            assert messages[fault] in result.stderr
        else:
            assert result.stdout.strip() == ("nan" if fault == 2 else "7.0")
