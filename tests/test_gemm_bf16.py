"""Products of bfloat16 planes: every table that has them and every precision, against float64 NumPy."""

from __future__ import annotations

import itertools

import deltarule as dr
import numpy as np
import pytest
import reference
import tolerance
from conftest import BFLOAT16
from deltarule import _core, data, nn
from test_gemm import ADVERSARIAL, TRANSPOSES, Matrix, adversarial, check, operands, output

pytestmark = pytest.mark.sanitize

gemm = _core.kernels.gemm
TABLES = [isa["name"] for isa in _core.isas() if isa["supported"] and isa["name"] in BFLOAT16]
KC = 1024
# Where a table multiplies planes, and not float32 numbers.
PLANES = {
    "avx512_bf16": ["medium"],
    "amx": ["medium", "high", "highest"],
    "amx_emulated": ["medium", "high", "highest"],
}
UNITS = [(table, precision) for table in TABLES for precision in PLANES[table]]


def large_enough(unit, *extents):
    """Extents of which the unit makes its own product, and not a float32 one (Limits in csrc/cpu/amx.cpp)."""
    least = 256 if unit == ("amx", "highest") else 0
    return tuple(max(least, extent) for extent in extents)


@pytest.fixture
def unit(request):
    """A table in use and a precision it forms from bfloat16."""
    if request.param is None:
        pytest.skip("no bfloat16 unit on this CPU")
    before = _core.isa()
    _core.set_isa(request.param[0])
    yield request.param
    _core.set_isa(before)


each_medium_unit = pytest.mark.parametrize(
    "unit",
    [unit for unit in UNITS if unit[1] == "medium"] or [None],
    indirect=True,
    ids="-".join if UNITS else None,
)
each_unit = pytest.mark.parametrize("unit", UNITS or [None], indirect=True, ids="-".join if UNITS else None)
each_transpose = pytest.mark.parametrize(("trans_a", "trans_b"), TRANSPOSES)


def bfloat16(x):
    """float32 rounded to a significand of 8 bits, to nearest even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def integers(rng, shape, largest=8):
    """Exact in bfloat16, and so are their products and sums in float32."""
    return rng.integers(-largest, largest + 1, shape).astype(np.float32)


def shapes(rng, count):
    """Around 16, 32 and 64 rows and columns, 32 and KC of k; those that reach every path first."""
    rows = [1, 15, 16, 17, 24, 31, 32, 33, 47, 48, 49, 64, 65, 95, 97, 100, 130, 200, 385]
    cols = [1, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65, 127, 129, 200]
    depths = [1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, KC - 1, KC, KC + 1, 2 * KC + 3]
    always = [(48, 32, 16), (100, 200, KC + 1), (400, 70, KC + 1), (129, 33, 2 * KC + 3), (300, 129, 33)]
    always += [
        (260, 270, 280),
        (400, 257, 2 * KC + 3),
        (33, 40, 4 * KC),
        (33, 40, 4 * KC + 70),
        (300, 600, 256),
    ]
    return always + [tuple(int(rng.choice(sizes)) for sizes in (rows, cols, depths)) for _ in range(count)]


def float32(call):
    """What `call` gives with the AVX-512 table."""
    before = _core.isa()
    _core.set_isa("avx512")
    try:
        return call()
    finally:
        _core.set_isa(before)


def product(a, b, precision, trans_a=False, trans_b=False, **extra):
    m, n = a.shape[1] if trans_a else a.shape[0], b.shape[0] if trans_b else b.shape[1]
    c = np.full((m, n), np.nan, np.float32)
    gemm(a, b, c, trans_a=trans_a, trans_b=trans_b, precision=precision, **extra)
    return c


@each_unit
@each_transpose
def test_product(unit, trans_a, trans_b):
    precision = unit[1]
    rng = np.random.default_rng(1)
    scalars = [(1.0, 0.0), (1.0, 1.0), (0.5, 0.0), (-2.0, -0.5), (0.0, 1.0), (0.25, 1.0)]
    for number, (m, n, k) in enumerate(shapes(rng, 40)):
        alpha, beta = scalars[number % len(scalars)]
        pad, offset = number % 3, number % 5
        a, b, wide_a, wide_b = operands(rng, m, n, k, np.float32, trans_a, trans_b, pad, offset)
        c = output(m, n, np.float32, pad, offset, np.nan if beta == 0 else rng.standard_normal((m, n)))
        old = np.zeros((m, n)) if beta == 0 else c.view.astype(np.float64)
        gemm(a, b, c.view, trans_a=trans_a, trans_b=trans_b, alpha=alpha, beta=beta, precision=precision)
        want = alpha * (wide_a @ wide_b) + beta * old
        slack = tolerance.rounded(3, beta * old, np.float32)
        bound = tolerance.gemm(alpha * wide_a, wide_b, k, np.float32, want, precision)
        check(c.view, want, bound + slack)
        c.check_canaries()


@each_medium_unit
@each_transpose
def test_operands_are_rounded_to_nearest_even(unit, trans_a, trans_b):
    """One plane: float32's bound holds for the product of the operands as NumPy rounds them."""
    rng = np.random.default_rng(2)
    for m, n, k in [(100, 200, 300), (200, 100, KC + 1), (48, 32, 32)]:
        a, b, _, _ = operands(rng, m, n, k, np.float32, trans_a, trans_b)
        for x in (a, b):  # half of the elements lie in the middle between two bfloat16 numbers
            bits, ties = x.view(np.uint32), rng.random(x.shape) < 0.5
            bits[ties] = bits[ties] & np.uint32(0xFFFF0000) | np.uint32(0x8000)
        got = product(a, b, "medium", trans_a, trans_b)
        wide_a, wide_b = bfloat16(a).astype(np.float64), bfloat16(b).astype(np.float64)
        wide_a, wide_b = wide_a.T if trans_a else wide_a, wide_b.T if trans_b else wide_b
        want = wide_a @ wide_b
        check(got, want, tolerance.gemm(wide_a, wide_b, k, np.float32, want))


@each_unit
@each_transpose
def test_small_integers_are_exact(unit, trans_a, trans_b):
    """Nothing rounds, so one element in the wrong place or a term too many shows; no canary is touched."""
    rng = np.random.default_rng(3)
    for number, (m, n, k) in enumerate(shapes(rng, 60)):
        pad, offset = number % 3, number % 5
        a = Matrix(integers(rng, (k, m) if trans_a else (m, k)), np.float32, pad, offset)
        b = Matrix(integers(rng, (n, k) if trans_b else (k, n)), np.float32, pad, offset)
        c = output(m, n, np.float32, pad, offset)
        gemm(a.view, b.view, c.view, trans_a=trans_a, trans_b=trans_b, precision=unit[1])
        want = (a.view.T if trans_a else a.view).astype(float) @ (b.view.T if trans_b else b.view).astype(
            float
        )
        assert np.array_equal(c.view, want), (m, n, k)
        c.check_canaries()


@each_unit
@pytest.mark.parametrize("kind", [*ADVERSARIAL, "ties"])
def test_adversarial_data(unit, kind):
    rng = np.random.default_rng(4)
    for extents in [(60, 90, 200), (200, 70, KC + 9)]:
        m, n, k = large_enough(unit, *extents)
        a, b = adversarial(rng, kind, m, n, k, np.float32)
        got = product(a, b, unit[1])
        want = a.astype(float) @ b.astype(float)
        check(got, want, tolerance.gemm(a.astype(float), b.astype(float), k, np.float32, want, unit[1]))


@each_unit
def test_scaled_integers_are_exact_over_the_whole_range(unit):
    """2^s A times 2^t B: the unit within its limits, float32 beyond them, no result flushed or overflown."""
    rng = np.random.default_rng(5)
    m, n, k = large_enough(unit, 60, 70, 100)
    a, b = integers(rng, (m, k)), integers(rng, (k, n))
    exact = a.astype(float) @ b.astype(float)  # at most 12288
    exponents = [
        -149,
        -130,
        -126,
        -110,
        -103,
        -102,
        -80,
        -60,
        -56,
        -50,
        -40,
        0,
        40,
        55,
        60,
        63,
        100,
        113,
        124,
    ]
    for s, t in itertools.product(exponents, repeat=2):
        if s + t < -149 or s + t > 127 - 14 or max(s, t) > 124:
            continue
        x, y = np.ldexp(a, s).astype(np.float32), np.ldexp(b, t).astype(np.float32)
        assert np.array_equal(product(x, y, unit[1]), np.ldexp(exact, s + t).astype(np.float32)), (s, t)


SPECIAL = {
    "inf": np.inf,
    "minus inf": -np.inf,
    "nan": np.nan,
    "largest": np.finfo(np.float32).max,
    "rounds to inf": np.float32(2.0**127 * (2 - 2.0**-8)),
    "subnormal": np.float32(1e-40),
    "smallest": np.finfo(np.float32).smallest_subnormal,
    "tiny": np.float32(2e-38),
}


@each_unit
@each_transpose
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values_give_float32_s_bits(unit, trans_a, trans_b, name):
    """One such element anywhere, in either operand, and every epilogue, the one in place too, is as in float32."""
    rng = np.random.default_rng(6)
    m, n, k = large_enough(unit, 60, 70, 100)
    for operand, place in itertools.product((0, 1), ("first", "last", "any")):
        a, b, _, _ = operands(rng, m, n, k, np.float32, trans_a, trans_b, pad=1)
        x = (a, b)[operand]
        at = {"first": (0, 0), "last": (x.shape[0] - 1, x.shape[1] - 1)}
        x[at.get(place, (x.shape[0] // 2, x.shape[1] // 3))] = SPECIAL[name]
        y, w = rng.standard_normal((m, n)).astype(np.float32), rng.standard_normal((m, n)).astype(np.float32)

        def each(a=a, b=b, y=y, w=w):
            results = [product(a, b, unit[1], trans_a, trans_b)]
            db = np.full(n, np.nan, np.float32)
            z = np.full((m, n), np.nan, np.float32)
            results += [
                product(a, b, unit[1], trans_a, trans_b, epilogue="bias_act", activation="tanh", z=z),
                z,
            ]
            backprop = {"epilogue": "backprop", "activation": "tanh", "y": y, "db": db}
            results += [product(a, b, unit[1], trans_a, trans_b, **backprop), db]
            for extra in ({"beta": 1.0}, {"epilogue": "sgd", "lr": 0.1, "weight_decay": 0.01}):
                results.append(w.copy())
                gemm(a, b, results[-1], trans_a=trans_a, trans_b=trans_b, precision=unit[1], **extra)
            return results

        for got, want in zip(each(), float32(each), strict=True):
            assert np.array_equal(got, want, equal_nan=True)


@each_unit
def test_sums_that_overflow_give_float32_s_infinities(unit):
    m, n, k = large_enough(unit, 60, 70, 100)
    a = np.full((m, k), 1e19, np.float32)
    b = np.full((k, n), 2e18, np.float32)  # 100 times 2e37: beyond 3.4e38
    b[:, n // 2 :] = 2e16
    got = product(a, b, unit[1])
    assert np.all(np.isposinf(got[:, : n // 2]))
    assert np.all(np.isfinite(got[:, n // 2 :]))


@each_unit
@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize("name", ["linear", "relu", "tanh", "gelu"])
def test_bias_act(unit, name, trans_b):
    rng = np.random.default_rng(7)
    for extents in [(100, 70, 130), (200, 33, KC + 5)]:
        m, n, k = large_enough(unit, *extents)
        a, b, wide_a, wide_b = operands(rng, m, n, k, np.float32, False, trans_b)
        a /= np.float32(np.sqrt(k))
        wide_a = a.astype(np.float64)
        bias = rng.standard_normal(n).astype(np.float32)
        c, z = output(m, n, np.float32, 3, 1), output(m, n, np.float32, 2, 5)
        arguments = {"epilogue": "bias_act", "activation": name, "slope": 0.3, "bias": bias}
        gemm(a, b, c.view, trans_b=trans_b, alpha=0.5, z=z.view, precision=unit[1], **arguments)
        want = 0.5 * (wide_a @ wide_b) + bias
        slack = tolerance.rounded(2, np.abs(want) + np.abs(bias), np.float32)
        check(z.view, want, tolerance.gemm(0.5 * wide_a, wide_b, k, np.float32, want, unit[1]) + slack)
        want = reference.activation(name, z.view, 0.3)
        check(c.view, want, tolerance.rounded(8, want, np.float32))
        c.check_canaries()
        z.check_canaries()


@each_unit
def test_bias_act_on_top_of_c(unit):
    """beta 1. An infinity sends the product to float32 when C may have been written: it must not have been."""
    rng = np.random.default_rng(12)
    for extents in [(100, 70, 130), (200, 33, KC + 5)]:
        m, n, k = large_enough(unit, *extents)
        a, b, wide_a, wide_b = operands(rng, m, n, k, np.float32)
        before = rng.standard_normal((m, n)).astype(np.float32)
        c = output(m, n, np.float32, 3, 1, before)
        gemm(a, b, c.view, alpha=-1.0, beta=1.0, epilogue="bias_act", precision=unit[1])
        want = before - wide_a @ wide_b
        slack = tolerance.rounded(2, np.abs(want) + np.abs(before), np.float32)
        check(c.view, want, tolerance.gemm(wide_a, wide_b, k, np.float32, want, unit[1]) + slack)
        c.check_canaries()

        a[-1, 0] = np.inf
        c.view[...] = before
        gemm(a, b, c.view, alpha=-1.0, beta=1.0, epilogue="bias_act", precision=unit[1])
        check(c.view[:-1], want[:-1], tolerance.gemm(wide_a, wide_b, k, np.float32, want)[:-1] + slack[:-1])


@each_unit
@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize("name", ["linear", "tanh", "gelu"])
def test_backprop(unit, name, trans_b):
    rng = np.random.default_rng(8)
    for extents in [(100, 70, 130), (300, 33, KC + 5)]:
        m, n, k = large_enough(unit, *extents)
        a, b, wide_a, wide_b = operands(rng, m, n, k, np.float32, False, trans_b)
        z = rng.standard_normal((m, n)).astype(np.float32)
        y = reference.activation(name, z, 0.0).astype(np.float32)
        c, db = output(m, n, np.float32, 3, 1), np.full(n, np.nan, np.float32)
        arguments = {"epilogue": "backprop", "activation": name, "y": y, "z": z, "db": db}
        gemm(a, b, c.view, trans_b=trans_b, precision=unit[1], **arguments)
        slope = reference.activation_derivative(name, z, 0.0).astype(np.float64)
        want = (wide_a @ wide_b) * slope
        bound = tolerance.gemm(wide_a, wide_b, k, np.float32, wide_a @ wide_b, unit[1]) * np.abs(slope)
        size = (wide_a @ wide_b) * np.maximum(1, np.abs(slope))
        check(c.view, want, bound + tolerance.rounded(16, size, np.float32))
        terms = c.view.astype(np.float64)
        check(db, terms.sum(0), tolerance.summed(terms, np.float32))
        c.check_canaries()


@each_unit
@pytest.mark.parametrize(("momentum", "nesterov"), [(None, False), (0.9, False), (0.9, True)])
def test_sgd(unit, momentum, nesterov):
    rng = np.random.default_rng(9)
    lr, decay = 0.1, 0.01
    for extents in [(100, 70, 32), (300, 33, 100), (60, 40, 2 * KC + 7)]:
        m, n, k = large_enough(unit, *extents)
        x, dy, wide_x, wide_dy = operands(rng, m, n, k, np.float32, True, False)
        w = output(m, n, np.float32, 3, 1, rng.standard_normal((m, n)))
        old = w.view.astype(np.float64)
        gradient = wide_x.astype(np.float64) @ wide_dy + decay * old
        update, velocity, size = gradient, None, np.abs(gradient) + np.abs(old)
        if momentum is not None:
            velocity = output(m, n, np.float32, 3, 2, rng.standard_normal((m, n)))
            old_velocity = velocity.view.astype(np.float64)
            want_velocity = momentum * old_velocity + gradient
            update = gradient + momentum * want_velocity if nesterov else want_velocity
            size += np.abs(old_velocity)
        gemm(
            x, dy, w.view, trans_a=True, epilogue="sgd", lr=lr, weight_decay=decay, precision=unit[1],
            momentum=momentum or 0.0, nesterov=nesterov, velocity=None if velocity is None else velocity.view,
        )  # fmt: skip
        bound = tolerance.gemm(wide_x, wide_dy, k, np.float32, gradient, unit[1])
        slack = tolerance.rounded(4 * (1 + k // KC), size, np.float32)
        check(w.view, old - lr * update, 2 * lr * bound + slack)
        w.check_canaries()
        if velocity is not None:
            check(velocity.view, want_velocity, bound + slack)
            velocity.check_canaries()


@each_unit
@each_transpose
def test_same_bits_for_any_number_of_threads(unit, trans_a, trans_b, threads):
    rng = np.random.default_rng(10)
    for m, n, k in [(100, 900, 300), (128, 40, KC + 1), (130, 400, 500), (700, 70, 20), (300, 500, KC + 1)]:
        a, b, _, _ = operands(rng, m, n, k, np.float32, trans_a, trans_b)
        y = rng.standard_normal((m, n)).astype(np.float32)
        results = []
        for count in (1, 2, 3, 5):
            threads(count)
            db = np.full(n, np.nan, np.float32)
            extra = {"epilogue": "backprop", "activation": "elu", "y": y, "db": db}
            fused = product(a, b, unit[1], trans_a, trans_b, **extra)
            plain = product(a, b, unit[1], trans_a, trans_b)
            results.append(fused.tobytes() + db.tobytes() + plain.tobytes())
        assert len(set(results)) == 1, (m, n, k)


@each_unit
def test_rows_do_not_depend_on_their_neighbours(unit):
    """Nor on whether B is packed beforehand or on the way."""
    rng = np.random.default_rng(11)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((403, 300), (300, 301)))
    whole = product(a, b, unit[1])
    for extents in [(399, 203), (250, 301), (120, 77), (50, 50)]:
        rows, columns = large_enough(unit, *extents)
        part = product(np.ascontiguousarray(a[:rows]), np.ascontiguousarray(b[:, :columns]), unit[1])
        assert np.array_equal(whole[:rows, :columns], part), (rows, columns)


@pytest.mark.parametrize("table", TABLES or [None])
def test_other_precisions_and_small_products_are_float32(table):
    if table is None:
        pytest.skip("no bfloat16 unit on this CPU")
    before = _core.isa()
    _core.set_isa(table)
    try:
        rng = np.random.default_rng(12)
        a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((260, 270), (270, 300)))
        for precision in ("highest", "high", "medium"):
            same = np.array_equal(product(a, b, precision), float32(lambda: product(a, b, "highest")))
            assert same == (precision not in PLANES[table]), precision
            if table != "amx_emulated":
                row = product(a[:1], b, precision)
                assert np.array_equal(row, float32(lambda: product(a[:1], b, "highest")))
        wide = rng.standard_normal((100, 100))
        c, d = np.empty((100, 100)), np.empty((100, 100))
        gemm(wide, wide, c, precision="medium")
        gemm(wide, wide, d)
        assert np.array_equal(c, d)
    finally:
        _core.set_isa(before)


@pytest.mark.parametrize("table", [table for table, precision in UNITS if precision == "highest"] or [None])
@pytest.mark.parametrize("k", [256, 784, 2500, 8192])
def test_six_products_are_no_worse_than_fma(table, k):
    """Root mean square errors of three planes and of float32; K up to far beyond those of nets."""
    if table is None:
        pytest.skip("no three planes on this CPU")
    rng = np.random.default_rng(14)
    for draw in (rng.standard_normal, rng.random):
        a, b = draw((256, k)).astype(np.float32), draw((k, 256)).astype(np.float32)
        exact = a.astype(np.float64) @ b.astype(np.float64)
        before = _core.isa()
        _core.set_isa(table)
        got = product(a, b, "highest")
        _core.set_isa(before)
        fma = float32(lambda a=a, b=b: product(a, b, "highest"))
        assert not np.array_equal(got, fma)
        error, bound = (np.sqrt(np.mean((c - exact) ** 2)) for c in (got, fma))
        assert error <= bound, (draw, error, bound)


@each_unit
def test_matmul_takes_the_unit_and_info_says_so(unit):
    rng = np.random.default_rng(13)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((260, 270), (270, 300)))
    assert np.array_equal(np.asarray(dr.matmul(a, b, precision=unit[1])), product(a, b, unit[1]))
    assert "bfloat16" in dr.info()["precisions"][unit[1]]


@each_unit
def test_training_learns_as_in_float32(unit):
    """Digits, batches of 300: about the same loss after the same epochs."""
    digits = data.load("digits")

    def loss(precision):
        net = nn.mlp([64, 300, 300, 10], activation="tanh", seed=0, precision=precision)
        optimizer = nn.Momentum(0.1)
        history = net.fit(digits.train.x / 16, digits.train.y, optimizer=optimizer, epochs=12, batch_size=300)
        return history["train_loss"][-1]

    got, want = loss(unit[1]), float32(lambda: loss("highest"))
    assert got != want
    assert abs(got - want) <= 0.1 * want, (got, want)
