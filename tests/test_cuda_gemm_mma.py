"""gemm_mma.cuh against float64 NumPy: on the emulated GPU, or on this machine's if nvcc is here.

The kernels are called directly (tests/mma.py), whether they pay or not: what they do at edges shows on shapes that
are too small for them to be chosen. The last tests go through gemm's slot.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import mma as mma_module
import numpy as np
import pytest
import reference
import tolerance
from deltarule import _core
from mma import PRECISIONS, TILES, Mma
from test_gemm import ADVERSARIAL, CANARY, TRANSPOSES, Matrix, adversarial, check, operands, output
from test_gemm_bf16 import SPECIAL, bfloat16, integers

pytestmark = pytest.mark.slow  # compiles the kernels first

each_precision = pytest.mark.parametrize("precision", PRECISIONS)
each_transpose = pytest.mark.parametrize(("trans_a", "trans_b"), TRANSPOSES)


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    built = mma_module.build(tmp_path_factory.mktemp("mma"))
    if built is None:
        pytest.skip("no g++")
    return built


@pytest.fixture(scope="session")
def mma(library):
    return Mma(library)


def tiles(precision):
    return TILES if precision == "medium" else TILES[:2]


SHAPES = [
    (1, 1, 1),
    (15, 17, 16),
    (17, 15, 33),
    (64, 128, 64),
    (65, 129, 63),
    (127, 127, 31),
    (129, 130, 70),
    (128, 256, 1),
    (63, 257, 128),
    (200, 40, 330),
    (1, 400, 32),
    (193, 1, 65),
    (132, 260, 36),
]


@each_precision
@each_transpose
def test_small_integers_are_exact(mma, precision, trans_a, trans_b):
    """Nothing rounds, so one element in the wrong place or a term too many shows; no canary is touched."""
    rng = np.random.default_rng(3)
    plans = itertools.cycle(itertools.product(tiles(precision), [1, 1, 3]))
    for number, (m, n, k) in enumerate(SHAPES + SHAPES):
        pad, offset = (0, 0) if number % 4 == 1 else (number % 3, number % 5)  # aligned once in a while
        a = Matrix(integers(rng, (k, m) if trans_a else (m, k)), np.float32, pad, offset)
        b = Matrix(integers(rng, (n, k) if trans_b else (k, n)), np.float32, pad, offset)
        c = output(m, n, np.float32, pad, offset)
        plan = next(plans)
        mma.gemm(a.view, b.view, c.view, plan=plan, precision=precision, trans_a=trans_a, trans_b=trans_b)
        wide_a, wide_b = a.view.astype(float), b.view.astype(float)
        want = (wide_a.T if trans_a else wide_a) @ (wide_b.T if trans_b else wide_b)
        assert np.array_equal(c.view, want), (m, n, k, plan)
        c.check_canaries()


@each_precision
@each_transpose
def test_product(mma, precision, trans_a, trans_b):
    rng = np.random.default_rng(1)
    scalars = [(1.0, 0.0), (1.0, 1.0), (-2.0, -0.5), (0.0, 1.0), (0.25, 1.0)]
    shapes = [(130, 132, 70), (64, 129, 200), (200, 300, 5), (70, 60, 1000), (129, 50, 64), (30, 90, 1000)]
    plans = itertools.cycle(itertools.product(tiles(precision), [1, 2]))
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
        mma.gemm(a, b, c.view, plan=next(plans), **options)
        want = alpha * (wide_a @ wide_b) + beta * old
        bound = tolerance.gemm(alpha * wide_a, wide_b, k, np.float32, want, precision)
        check(c.view, want, bound + tolerance.rounded(3, beta * old, np.float32))
        c.check_canaries()


@each_transpose
def test_operands_are_rounded_to_nearest_even(mma, trans_a, trans_b):
    """One plane: float32's bound, and what cutting off its sums adds, hold for operands as NumPy rounds them."""
    rng = np.random.default_rng(2)
    for m, n, k in [(100, 130, 300), (60, 64, 16)]:
        a, b, _, _ = operands(rng, m, n, k, np.float32, trans_a, trans_b)
        for x in (a, b):  # half of the elements lie in the middle between two bfloat16 numbers
            bits, ties = x.view(np.uint32), rng.random(x.shape) < 0.5
            bits[ties] = bits[ties] & np.uint32(0xFFFF0000) | np.uint32(0x8000)
        got = np.empty((m, n), np.float32)
        mma.gemm(a, b, got, plan=("small", 1), precision="medium", trans_a=trans_a, trans_b=trans_b)
        wide_a, wide_b = bfloat16(a).astype(np.float64), bfloat16(b).astype(np.float64)
        wide_a, wide_b = wide_a.T if trans_a else wide_a, wide_b.T if trans_b else wide_b
        want = wide_a @ wide_b
        check(got, want, tolerance.gemm(wide_a, wide_b, k, np.float32, want) * (1 + np.sqrt(k) / 4))


@each_precision
@pytest.mark.parametrize("kind", [*ADVERSARIAL, "ties"])
def test_adversarial_data(mma, precision, kind):
    rng = np.random.default_rng(4)
    for (m, n, k), plan in [((60, 90, 200), ("large", 1)), ((130, 70, 1033), ("small", 3))]:
        a, b = adversarial(rng, kind, m, n, k, np.float32)
        got = np.empty((m, n), np.float32)
        mma.gemm(a, b, got, plan=plan, precision=precision)
        want = a.astype(float) @ b.astype(float)
        check(got, want, tolerance.gemm(a.astype(float), b.astype(float), k, np.float32, want, precision))


@each_precision
def test_scaled_integers_are_exact_over_the_whole_range(mma, precision):
    """2^s A times 2^t B: planes within their limits, float32 beyond them, no result flushed or overflown."""
    rng = np.random.default_rng(5)
    m, n, k = 64, 60, 40
    a, b = integers(rng, (m, k)), integers(rng, (k, n))
    exact = a.astype(float) @ b.astype(float)  # at most 2560
    exponents = [-149, -140, -130, -126, -118, -110, -103, -75, -60, -50, 0, 40, 60, 80, 105, 113, 124]
    for s, t in itertools.product(exponents, repeat=2):
        if s + t < -149 or s + t > 127 - 12 or max(s, t) > 124:
            continue
        x, y = np.ldexp(a, s).astype(np.float32), np.ldexp(b, t).astype(np.float32)
        got = np.empty((m, n), np.float32)
        mma.gemm(x, y, got, plan=("small", 1), precision=precision)
        assert np.array_equal(got, np.ldexp(exact, s + t).astype(np.float32)), (s, t)


@each_precision
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(mma, precision, name):
    """One such element, in either operand: exactly the elements NumPy makes inf or NaN are so, the others float32's.

    In place: what becomes of C happens once, whichever way its product was made.
    """
    rng = np.random.default_rng(6)
    m, n, k = 70, 140, 100
    for number, (trans_a, trans_b) in enumerate(TRANSPOSES):
        a, b, wide_a, wide_b = operands(rng, m, n, k, np.float32, trans_a, trans_b, pad=1)
        x = (a, b)[number % 2]
        x[x.shape[0] // 2, x.shape[1] // 3] = SPECIAL[name]
        wide_a, wide_b = a.astype(float), b.astype(float)
        wide_a, wide_b = wide_a.T if trans_a else wide_a, wide_b.T if trans_b else wide_b
        w = output(m, n, np.float32, 1, 1, rng.standard_normal((m, n)))
        old = w.view.astype(np.float64)
        options = {"precision": precision, "trans_a": trans_a, "trans_b": trans_b}
        options["plan"] = (tiles(precision)[number % len(tiles(precision))], 1 + number // 2)
        mma.gemm(a, b, w.view, epilogue="sgd", lr=1.0, **options)
        with np.errstate(all="ignore"):
            product = wide_a @ wide_b
            want = (old - product).astype(np.float32)
        for test in (np.isnan, np.isposinf, np.isneginf):
            assert np.array_equal(test(w.view), test(want))
        finite = np.isfinite(want)
        with np.errstate(all="ignore"):
            bound = tolerance.gemm(wide_a, wide_b, k, np.float32, product, precision)
            bound += tolerance.rounded(4, old, np.float32)
        check(w.view[finite], want[finite].astype(float), bound[finite])
        w.check_canaries()


@each_precision
def test_sums_that_overflow_give_float32_s_infinities(mma, precision):
    a = np.full((64, 100), 1e19, np.float32)
    b = np.full((100, 70), 2e18, np.float32)  # 100 times 2e37: beyond 3.4e38
    b[:, 35:] = 2e16
    got = np.empty((64, 70), np.float32)
    mma.gemm(a, b, got, plan=("small", 1), precision=precision)
    assert np.all(np.isposinf(got[:, :35]))
    assert np.all(np.isfinite(got[:, 35:]))

    below = np.float32(2.0**63 * (2 - 2.0**-10))  # its square is finite, that of its highest plane is not
    a, b = np.zeros((64, 100), np.float32), np.zeros((100, 70), np.float32)
    a[:, 3], b[3] = below, below
    mma.gemm(a, b, got, plan=("small", 1), precision=precision)
    assert np.all(got == below * below)


@each_precision
def test_large_sums_that_cancel(mma, precision):
    """Sums of planes leave float32's range on the way, sums of float32 do not."""
    a, b = np.ones((64, 96), np.float32), np.ones((96, 64), np.float32)
    a[:, 10], a[:, 70] = 2.0**100, -(2.0**100)
    a[:, 1:10], b[90] = 0, 5
    got = np.empty((64, 64), np.float32)
    mma.gemm(a, b, got, plan=("small", 1), precision=precision)
    want = np.float32(0)
    for k in range(96):
        want = np.float32(float(want) + float(a[0, k]) * float(b[k, 0]))
    assert np.all(got == want)


@each_precision
@pytest.mark.parametrize("name", ["linear", "tanh", "gelu"])
def test_bias_act(mma, precision, name):
    rng = np.random.default_rng(7)
    for (m, n, k), plan, aligned in [
        ((100, 70, 130), ("large", 1), False),
        ((130, 132, 100), ("small", 2), True),
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
            mma.gemm(a, b, c.view, z=z.view, **options)
            want = 0.5 * (wide_a @ wide_b) + bias + beta * before
            slack = tolerance.rounded(3, np.abs(want) + np.abs(bias) + np.abs(before), np.float32)
            check(z.view, want, tolerance.gemm(0.5 * wide_a, wide_b, k, np.float32, want, precision) + slack)
            want = reference.activation(name, z.view, 0.3)
            check(c.view, want, tolerance.rounded(8, want, np.float32))
            c.check_canaries()
            z.check_canaries()
            without_z = output(m, n, np.float32, *pads[:2], before)
            mma.gemm(a, b, without_z.view, **options)
            assert np.array_equal(without_z.view, c.view)


@each_precision
@pytest.mark.parametrize("name", ["linear", "tanh", "gelu"])
def test_backprop(mma, precision, name):
    rng = np.random.default_rng(8)
    wide = tiles(precision)[-1]
    for (m, n, k), plan, aligned in [
        ((100, 70, 130), ("small", 2), False),
        ((330, 132, 40), (wide, 1), True),
    ]:
        a, b, wide_a, wide_b = operands(rng, m, n, k, np.float32, False, True)
        z = Matrix(rng.standard_normal((m, n)), np.float32, *((0, 0) if aligned else (1, 1)))
        y = Matrix(reference.activation(name, z.view, 0.0), np.float32, *((0, 0) if aligned else (2, 2)))
        c = output(m, n, np.float32, *((0, 0) if aligned else (3, 1)))
        db = np.full(n + 1, CANARY, np.float32)
        options = {"epilogue": "backprop", "activation": name, "y": y.view, "z": z.view, "trans_b": True}
        options |= {"precision": precision, "plan": plan}
        mma.gemm(a, b, c.view, db=db[:n], **options)
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
def test_sgd(mma, momentum, nesterov, splits):
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
        options |= {"precision": precision, "plan": (TILES[number], splits), "lr": 0.0 if state else lr}
        mma.gemm(x, dy, w.view, state=state, **options)
        bound = tolerance.gemm(wide_x, wide_dy, k, np.float32, gradient, precision)
        slack = tolerance.rounded(4, size, np.float32)
        check(w.view, old - lr * update, 2 * lr * bound + slack)
        w.check_canaries()
        if velocity is not None:
            check(velocity.view, want_velocity, bound + slack)
            velocity.check_canaries()
        before = w.view.copy()
        mma.gemm(x, dy, w.view, state=(lr, 1), **options)
        assert np.array_equal(w.view, before)


@each_precision
def test_rows_do_not_depend_on_their_neighbours(mma, precision):
    rng = np.random.default_rng(11)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((203, 150), (150, 301)))
    results = []
    for tile in tiles(precision):
        whole = np.empty((203, 301), np.float32)
        mma.gemm(a, b, whole, precision=precision, plan=(tile, 1))
        results.append(whole)
        for rows, columns in [(199, 129), (50, 301), (1, 1)]:
            part = np.empty((rows, columns), np.float32)
            mma.gemm(a[:rows], b[:, :columns], part, precision=precision, plan=(tile, 1))
            assert np.array_equal(whole[:rows, :columns], part), (rows, columns)
    for other in results[1:]:  # an element is the same sum in tiles of every size
        assert np.array_equal(other, results[0])


def chain(a, b):
    """A B in float32, each element a chain of fma (but for roundings of float64)."""
    c = np.zeros((len(a), b.shape[1]), np.float32)
    for k in range(a.shape[1]):
        c = (c + a[:, k : k + 1].astype(np.float64) * b[k].astype(np.float64)).astype(np.float32)
    return c


# Run in a process of its own for each way in which the emulated tensor cores add.
ERRORS = """
import numpy as np, sys
from mma import Mma
from test_cuda_gemm_mma import chain
mma = Mma(sys.argv[1])
rng = np.random.default_rng(14)
for k in (2500, 4096):
    for draw in (rng.standard_normal, rng.random):
        a, b = draw((60, k)).astype(np.float32), draw((k, 62)).astype(np.float32)
        exact = a.astype(np.float64) @ b.astype(np.float64)
        for splits in (1, 4):
            got = np.empty((60, 62), np.float32)
            mma.gemm(a, b, got, plan=("small", splits))
            errors = [np.sqrt(np.mean((x - exact) ** 2)) / np.sqrt(np.mean(exact**2)) for x in (got, chain(a, b))]
            print(k, draw.__name__, splits, *errors)
"""


@pytest.mark.parametrize("truncated", ["0", "1"])
def test_six_products_are_no_worse_than_fma(library, truncated):
    """Root mean square errors of three planes and of a chain of fma, K as in the largest net; also where tensor
    cores cut off what they add instead of rounding."""
    path = os.pathsep.join([str(mma_module.ROOT / "tests"), *sys.path])
    environment = os.environ | {"DELTARULE_EMULATED_TRUNCATION": truncated, "PYTHONPATH": path}
    command = [sys.executable, "-c", ERRORS, library]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    lines = result.stdout.splitlines()
    assert len(lines) == 8
    for line in lines:
        planes, fma = line.split()[-2:]
        assert float(planes) <= float(fma), line


def test_plan(mma):
    """Tiles and splits fill a GPU of 128 multiprocessors; what is mostly padding is left to float32."""
    big = {"highest": "large", "high": "large", "medium": "wide"}
    for precision in PRECISIONS:
        assert mma.planned(4096, 4096, 4096, precision)[0] == (big[precision], 1)
        tile, splits = mma.planned(100, 2500, 2000, precision)[0]
        assert tile == "small"
        assert splits == 3  # of 80 tiles
        for m, n, k in [(1, 1, 1), (64, 64, 100), (64, 64, 10**6), (10**7, 16, 16), (16, 10**7, 10**5)]:
            assert 1 <= mma.planned(m, n, k, precision)[0][1] <= max(1, min(16, k // 128))
        assert not mma.planned(64, 64, 64, precision)[1]
        assert not mma.planned(4096, 15, 4096, precision)[1]
        assert not mma.planned(15, 4096, 4096, precision)[1]
        assert not mma.planned(4096, 4096, 15, precision)[1]
        assert not mma.planned(10**9, 10**9, 64, precision)[1]  # more blocks than a launch has


PAYS = """
import sys
from mma import PRECISIONS, Mma
mma = Mma(sys.argv[1])
print(*[int(mma.planned(1000, 1000, 1000, precision)[1]) for precision in PRECISIONS])
"""
# Through gemm's slot.
SLOT = """
import numpy as np, sys
from deltarule import _core
from mma import PRECISIONS, Mma
mma = Mma(sys.argv[1])
_core.kernels.set_device("cuda:0")
rng = np.random.default_rng(12)
for m, n, k in [(189, 190, 95), (100, 250, 1000)]:
    a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
    for precision in PRECISIONS:
        through, direct = np.empty((m, n), np.float32), np.empty((m, n), np.float32)
        _core.kernels.gemm(a, b, through, precision=precision)
        mma.gemm(a, b, direct, precision=precision)
        print(int(np.array_equal(through, direct)))
"""


def words(library, code, **variables):
    """What this code prints in a process of its own, with these environment variables."""
    path = os.pathsep.join([str(mma_module.ROOT / "tests"), *sys.path])
    environment = os.environ | variables | {"PYTHONPATH": path}
    command = [sys.executable, "-c", code, library]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(mma_module.capability() is not None, reason="the GPU is what it is")
def test_products_are_left_to_faster_units(library):
    want = {
        "7.5": "000",
        "8.0": "111",
        "8.6": "001",
        "8.9": "001",
        "9.0": "111",
        "10.0": "111",
        "12.0": "001",
    }
    for capability, pays in want.items():
        assert "".join(words(library, PAYS, DELTARULE_EMULATED_CAPABILITY=capability)) == pays, capability


@pytest.mark.skipif("cuda:0" not in _core.devices(), reason="no GPU in this build")
@pytest.mark.skipif(
    mma_module.capability() not in (None, "80", "90", "100", "103"), reason="float32 is faster"
)
def test_slot(library):
    assert words(library, SLOT, DELTARULE_CUDA_GEMM="mma") == ["1"] * 6
