"""The matrix product, every instruction set against float64 NumPy: edges, transposes, epilogues."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import reference
import tolerance
from conftest import GPUS
from deltarule import _core

pytestmark = pytest.mark.sanitize

gemm = _core.kernels.gemm
SOURCES = Path(__file__).resolve().parents[1] / "csrc" / "cpu"
LANES = {"scalar": 4, "avx2": 32, "avx512": 64}  # bytes in a register (scalar: one float)
DTYPES = [np.float32, np.float64]
TRANSPOSES = list(itertools.product([False, True], repeat=2))
CANARY = 12345.0


def blocks(isa, dtype):
    """MR, NR, V, KC of this table, from its source; of a GPU, whose tiles are many, sizes on both sides of them."""
    if isa in GPUS:
        return 32, 64, 16 // np.dtype(dtype).itemsize, 256
    bits = 8 * np.dtype(dtype).itemsize
    source = (SOURCES / f"{isa}.cpp").read_text()
    fields = re.search(rf"GemmBlocks{bits} {{(.*?)}};", source, re.DOTALL).group(1)
    value = {name: int(number) for name, number in re.findall(r"(\w+) = (\d+)", fields)}
    lanes = max(1, LANES[isa] // np.dtype(dtype).itemsize)
    return value["MR"], value["NV"] * lanes, lanes, value["KC"]


class Matrix:
    """A view [rows, cols] with padded rows, off any alignment, in a buffer whose other elements must stay."""

    def __init__(self, values, dtype, pad=0, offset=0, outside=np.nan):
        values = np.asarray(values)
        rows, cols = values.shape
        ld = cols + pad
        self.buffer = np.full(offset + max(1, rows) * ld + 1, outside, dtype)
        self.view = self.buffer[offset : offset + rows * ld].reshape(rows, ld)[:, :cols]
        self.view[...] = values
        self.inside = np.zeros(len(self.buffer), bool)
        self.inside[offset : offset + rows * ld].reshape(rows, ld)[:, :cols] = True

    def check_canaries(self):
        assert np.all(self.buffer[~self.inside] == CANARY), "written outside the matrix"


def output(rows, cols, dtype, pad=0, offset=0, values=np.nan):
    return Matrix(np.broadcast_to(values, (rows, cols)), dtype, pad, offset, CANARY)


def operands(rng, m, n, k, dtype, trans_a=False, trans_b=False, pad=0, offset=0):
    """A and B as stored, and op(A), op(B) in float64."""
    a = Matrix(rng.standard_normal((k, m) if trans_a else (m, k)), dtype, pad, offset)
    b = Matrix(rng.standard_normal((n, k) if trans_b else (k, n)), dtype, pad, offset)
    wide_a, wide_b = a.view.astype(np.float64), b.view.astype(np.float64)
    return a.view, b.view, wide_a.T if trans_a else wide_a, wide_b.T if trans_b else wide_b


def check(got, want, bound):
    assert got.shape == want.shape
    assert np.all(np.abs(got - want) <= bound), np.nanmax(np.abs(got - want) / np.maximum(bound, 1e-300))


def shapes(isa, dtype, rng, count):
    """`count` of the awkward shapes, those that reach every path first."""
    mr, nr, lanes, kc = blocks(isa, dtype)
    rows = [0, 1, 2, 3, mr - 1, mr, mr + 1, 2 * mr + 1, 16, 17, 8 * mr + 1, 100]
    cols = [0, 1, 3, 4, 5, lanes - 1, lanes + 1, 2 * lanes + 3, nr - 1, nr, nr + 1, 3 * nr + 5]
    depths = [0, 1, 2, lanes - 1, lanes, 2 * lanes + 3, 16, 17, 64, kc - 1, kc, kc + 1]
    always = [(1, 3 * nr + 5, kc + 3), (5, 40, kc + 3), (33, 2 * nr + 1, 2 * kc + 3)]
    always += [(150, nr + 1, kc + 1), (260, nr + 5, 2 * kc + 3), (300, 3 * nr + 2, 150), (200, 3200, 20)]
    always += [(500, 10, kc + 3), (131, 16, 90), (49, 7, 40), (8 * mr + 5, 2 * nr + 3, 1), (200, nr, 1)]
    drawn = [tuple(int(rng.choice(sizes)) for sizes in (rows, cols, depths)) for _ in range(count)]
    return always + drawn


@pytest.mark.parametrize(("trans_a", "trans_b"), TRANSPOSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_product(isa, dtype, trans_a, trans_b):
    rng = np.random.default_rng(1)
    scalars = [(1.0, 0.0), (1.0, 1.0), (0.5, 0.0), (-2.0, -0.5), (0.0, 1.0), (0.0, 0.0), (0.25, 1.0)]
    for number, (m, n, k) in enumerate(shapes(isa, dtype, rng, 60)):
        alpha, beta = scalars[number % len(scalars)]
        pad, offset = number % 3, number % 5
        a, b, wide_a, wide_b = operands(rng, m, n, k, dtype, trans_a, trans_b, pad, offset)
        # NaN in C must not spread when beta is 0.
        c = output(m, n, dtype, pad, offset, np.nan if beta == 0 else rng.standard_normal((m, n)))
        old = np.zeros((m, n)) if beta == 0 else c.view.astype(np.float64)
        gemm(a, b, c.view, trans_a=trans_a, trans_b=trans_b, alpha=alpha, beta=beta)
        product = alpha * (wide_a @ wide_b)
        want = product + beta * old
        bound = tolerance.gemm(alpha * wide_a, wide_b, k, dtype, want)
        bound += tolerance.rounded(3, beta * old, dtype)
        try:
            check(c.view, want, bound)
            c.check_canaries()
        except AssertionError as error:
            case = f"{m} x {n} x {k}, alpha {alpha}, beta {beta}, pad {pad}"
            raise AssertionError(f"{case}: {error}") from error


@pytest.mark.parametrize(("trans_a", "trans_b"), TRANSPOSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_uniform_data(isa, dtype, trans_a, trans_b):
    """All terms of one sign: rounding errors do not cancel, and a lost term shows."""
    rng = np.random.default_rng(2)
    for m, n, k in [(3, 70, 500), (40, 120, 700), (70, 50, 9), (9, 3, 600)]:
        a = rng.random((k, m) if trans_a else (m, k)).astype(dtype)
        b = rng.random((n, k) if trans_b else (k, n)).astype(dtype)
        c = np.full((m, n), np.nan, dtype)
        gemm(a, b, c, trans_a=trans_a, trans_b=trans_b)
        wide_a, wide_b = (a.T if trans_a else a).astype(float), (b.T if trans_b else b).astype(float)
        want = wide_a @ wide_b
        check(c, want, tolerance.gemm(wide_a, wide_b, k, dtype, want))


ADVERSARIAL = ("uniform", "wide", "cancelling", "subnormal")


def adversarial(rng, kind, m, n, k, dtype):
    """A[m,k] and B[k,n] that make rounding errors large, or add up, or fall out of range."""
    if kind == "uniform":  # one sign: roundings do not cancel
        a, b = rng.random((m, k)), rng.random((k, n))
    elif kind == "ties":  # to bfloat16: every rounding as large as it gets, all in one direction
        a, b = np.full((m, k), 1 + 2.0**-8 - 2.0**-23), np.full((k, n), 1 + 2.0**-8 - 2.0**-23)
    elif kind == "wide":  # 16 decimal orders
        a = rng.standard_normal((m, k)) * 10.0 ** rng.uniform(-8, 8, (m, k))
        b = rng.standard_normal((k, n)) * 10.0 ** rng.uniform(-8, 8, (k, n))
    elif kind == "cancelling":  # what is left is the operands' rounding
        a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n))
        a[:, k // 2 : k // 2 * 2] = -a[:, : k // 2]
        b[k // 2 : k // 2 * 2] = b[: k // 2] * (1 + 1e-3 * rng.random((k // 2, n)))
    else:  # products and sums about the smallest normal number: nothing is flushed
        tiny = np.sqrt(np.finfo(dtype).tiny)
        a = rng.standard_normal((m, k)) * tiny
        b = rng.standard_normal((k, n)) * tiny / np.sqrt(max(k, 1))
    return a.astype(dtype), b.astype(dtype)


@pytest.mark.parametrize(("trans_a", "trans_b"), TRANSPOSES)
@pytest.mark.parametrize("kind", ADVERSARIAL)
@pytest.mark.parametrize("dtype", DTYPES)
def test_adversarial_data(isa, dtype, kind, trans_a, trans_b):
    rng = np.random.default_rng(4)
    for m, n, k in shapes(isa, dtype, rng, 8):
        a, b = adversarial(rng, kind, m, n, k, dtype)
        c = np.full((m, n), np.nan, dtype)
        stored_a, stored_b = (np.ascontiguousarray(x.T) if t else x for x, t in ((a, trans_a), (b, trans_b)))
        gemm(stored_a, stored_b, c, trans_a=trans_a, trans_b=trans_b)
        wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
        if dtype == np.float64:  # float64 NumPy rounds as much: exact to some bits more
            wide_a, wide_b = wide_a.astype(np.longdouble), wide_b.astype(np.longdouble)
        want = wide_a @ wide_b
        check(c, want, tolerance.gemm(wide_a, wide_b, k, dtype, want))


@pytest.mark.parametrize(("trans_a", "trans_b"), TRANSPOSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_inf_and_nan_propagate(isa, dtype, trans_a, trans_b):
    """Exactly the elements NumPy makes inf or NaN are so: none spreads from padding or a neighbour."""
    rng = np.random.default_rng(3)
    for m, n, k in [(1, 1, 1), (3, 20, 70), (9, 100, 40), (70, 61, 500), (130, 50, 5), (50, 3, 90)]:
        a, b, _, _ = operands(rng, m, n, k, dtype, trans_a, trans_b, pad=1)
        special = [np.nan, np.inf, -np.inf]
        for x in (a, b):
            for value in special[: min(3, x.shape[0])]:
                x[rng.integers(x.shape[0]), rng.integers(x.shape[1])] = value
        c = output(m, n, dtype, pad=1)
        gemm(a, b, c.view, trans_a=trans_a, trans_b=trans_b)
        with np.errstate(all="ignore"):
            want = (a.T if trans_a else a).astype(float) @ (b.T if trans_b else b).astype(float)
        for test in (np.isnan, np.isposinf, np.isneginf):
            assert np.array_equal(test(c.view), test(want)), (m, n, k, test)
        c.check_canaries()


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_lower_precision_is_never_worse_than_asked(isa, precision):
    rng = np.random.default_rng(4)
    a, b, wide_a, wide_b = operands(rng, 40, 60, 50, np.float32)
    c = output(40, 60, np.float32)
    gemm(a, b, c.view, precision=precision)
    want = wide_a @ wide_b
    check(c.view, want, tolerance.gemm(wide_a, wide_b, 50, np.float32, want))


def epilogue_shapes(isa, dtype, name):
    """Direct, dot, one row, no K; for two activations also packed, several blocks of K and of rows."""
    mr, nr, lanes, kc = blocks(isa, dtype)
    small = [(3, nr + 5, 40), (40, 21, 2 * kc + 7), (8 * mr + 9, 2 * lanes + 3, 7), (1, 70, 30), (5, 7, 0)]
    packed = [(150, 12, 2 * kc + 9), (260, 12, 2 * kc + 9)]
    return small + packed if name in ("tanh", "gelu") else small


@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize("name", _core.activations())
@pytest.mark.parametrize("dtype", DTYPES)
def test_bias_act(isa, dtype, name, trans_b):
    rng = np.random.default_rng(5)
    slope = 0.3
    for number, (m, n, k) in enumerate(epilogue_shapes(isa, dtype, name)):
        a, b, wide_a, wide_b = operands(rng, m, n, k, dtype, False, trans_b)
        a /= np.sqrt(max(k, 1))
        bias = None if number == 1 else rng.standard_normal(n).astype(dtype)
        c, z = output(m, n, dtype, 3, 1), output(m, n, dtype, 2, 5)
        arguments = {"trans_b": trans_b, "alpha": 0.5, "activation": name, "slope": slope}
        arguments["epilogue"] = "bias_act"
        gemm(a, b, c.view, bias=bias, z=z.view, **arguments)

        wide_a = a.astype(np.float64)
        shift = np.zeros(n) if bias is None else bias.astype(np.float64)
        want_z = 0.5 * (wide_a @ wide_b) + shift
        slack = tolerance.rounded(2, np.abs(want_z) + np.abs(shift), dtype)
        check(z.view, want_z, tolerance.gemm(0.5 * wide_a, wide_b, k, dtype, want_z) + slack)
        # f is checked at the z that came out, so that a step of f or its slope does not count.
        want = reference.activation(name, z.view, slope)
        check(c.view, want, tolerance.rounded(8, want, dtype))
        c.check_canaries()
        z.check_canaries()

        without_z = output(m, n, dtype, 3, 1)
        gemm(a, b, without_z.view, bias=bias, **arguments)
        assert np.array_equal(without_z.view, c.view)


@pytest.mark.parametrize(("trans_a", "trans_b"), TRANSPOSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bias_act_on_top_of_c(isa, dtype, trans_a, trans_b):
    """beta 1: what C holds is part of z, on every path and with several blocks of k."""
    rng = np.random.default_rng(11)
    for m, n, k in shapes(isa, dtype, rng, 20):
        a, b, wide_a, wide_b = operands(rng, m, n, k, dtype, trans_a, trans_b, 1, 1)
        bias, before = rng.standard_normal(n).astype(dtype), rng.standard_normal((m, n)).astype(dtype)
        c, z = output(m, n, dtype, 3, 1, before), output(m, n, dtype, 2, 5)
        arguments = {"trans_a": trans_a, "trans_b": trans_b, "alpha": -1.0, "beta": 1.0}
        gemm(a, b, c.view, bias=bias, z=z.view, epilogue="bias_act", activation="softsign", **arguments)
        product, addends = -(wide_a @ wide_b), before.astype(np.float64) + bias
        want = product + addends
        slack = tolerance.rounded(3, np.abs(product) + np.abs(before) + np.abs(bias), dtype)
        check(z.view, want, tolerance.gemm(wide_a, wide_b, k, dtype, want) + slack)
        check(c.view, reference.activation("softsign", z.view, 0.0), tolerance.rounded(8, 1, dtype))
        c.check_canaries()
        z.check_canaries()


@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize("name", _core.activations())
@pytest.mark.parametrize("dtype", DTYPES)
def test_backprop(isa, dtype, name, trans_b):
    rng = np.random.default_rng(6)
    slope = 0.3
    for number, (m, n, k) in enumerate(epilogue_shapes(isa, dtype, name)):
        a, b, wide_a, wide_b = operands(rng, m, n, k, dtype, False, trans_b)
        z = Matrix(rng.standard_normal((m, n)), dtype, 1, 1)
        y = Matrix(reference.activation(name, z.view, slope), dtype, 2, 2)
        c = output(m, n, dtype, 3, 1)
        db = np.full(n + 1, CANARY, dtype)
        arguments = {"trans_b": trans_b, "alpha": -0.5, "activation": name, "slope": slope}
        arguments["epilogue"] = "backprop"
        given_z = {"z": z.view} if number % 2 or name in ("gelu", "gaussian") else {}
        gemm(a, b, c.view, y=y.view, db=db[:n], **given_z, **arguments)

        product = -0.5 * (wide_a @ wide_b)
        slope_at_z = reference.activation_derivative(name, z.view, slope).astype(np.float64)
        want = product * slope_at_z
        # f' comes from a rounded y: wrong by some u of the larger of 1 and f'.
        bound = tolerance.gemm(0.5 * wide_a, wide_b, k, dtype, product) * np.abs(slope_at_z)
        check(c.view, want, bound + tolerance.rounded(16, product * np.maximum(1, np.abs(slope_at_z)), dtype))
        c.check_canaries()
        terms = c.view.astype(np.float64)
        check(db[:n], terms.sum(0), tolerance.summed(terms, dtype))
        assert db[n] == CANARY

        without_db = output(m, n, dtype, 3, 1)
        gemm(a, b, without_db.view, y=y.view, **given_z, **arguments)
        assert np.array_equal(without_db.view, c.view)


@pytest.mark.parametrize(("momentum", "nesterov"), [(None, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sgd(isa, dtype, momentum, nesterov, weight_decay):
    """dW = x^T dy and the update in one, minibatches below and above KC."""
    rng = np.random.default_rng(7)
    mr, nr, lanes, kc = blocks(isa, dtype)
    lr = 0.1
    small = [(30, nr + 3, 1), (8 * mr + 3, lanes + 1, 12), (40, nr + 3, 2 * kc + 7), (30, 20, 0), (1, 70, 9)]
    many = [
        (100, 3, kc + 1),
        (150, 12, 2 * kc + 9),
        (260, 12, 2 * kc + 7),
        (60, 2 * nr, 2 * kc),
        (170, 10, 100),
    ]
    for number, (m, n, k) in enumerate([*small, *many]):
        pad = 3 * (number % 2)
        x, dy, wide_x, wide_dy = operands(rng, m, n, k, dtype, True, False)
        w = output(m, n, dtype, pad, 1, rng.standard_normal((m, n)))
        old = w.view.astype(np.float64)
        gradient = 0.5 * (wide_x @ wide_dy) + weight_decay * old
        size = np.abs(gradient) + np.abs(old)
        update, velocity = gradient, None
        if momentum is not None:
            velocity = output(m, n, dtype, pad, 2, rng.standard_normal((m, n)))
            old_velocity = velocity.view.astype(np.float64)
            want_velocity = momentum * old_velocity + gradient
            update = gradient + momentum * want_velocity if nesterov else want_velocity
            size += np.abs(old_velocity)
        gemm(
            x, dy, w.view, trans_a=True, alpha=0.5, epilogue="sgd", lr=lr, weight_decay=weight_decay,
            momentum=momentum or 0.0, nesterov=nesterov, velocity=None if velocity is None else velocity.view,
        )  # fmt: skip
        bound = tolerance.gemm(0.5 * wide_x, wide_dy, k, dtype, gradient)
        roundings = 4 * (1 + k // kc)
        check(w.view, old - lr * update, 2 * lr * bound + tolerance.rounded(roundings, size, dtype))
        w.check_canaries()
        if velocity is not None:
            check(velocity.view, want_velocity, bound + tolerance.rounded(roundings, size, dtype))
            velocity.check_canaries()


@pytest.mark.parametrize("epilogue", ["none", "bias_act", "backprop", "sgd"])
def test_nothing_to_do(isa, epilogue):
    """Empty results; db of no rows is zero."""
    for m, n, k in [(0, 5, 3), (5, 0, 3), (0, 0, 0)]:
        c = np.empty((m, n), np.float32)
        db = np.full(n, np.nan, np.float32)
        extra = {"y": c.copy(), "db": db} if epilogue == "backprop" else {}
        gemm(np.ones((m, k), np.float32), np.ones((k, n), np.float32), c, epilogue=epilogue, **extra)
        if epilogue == "backprop":
            assert np.all(db == 0)


@pytest.mark.parametrize(("trans_a", "trans_b"), TRANSPOSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_number_of_threads(isa, dtype, trans_a, trans_b, threads):
    rng = np.random.default_rng(8)
    few = [(1, 900, 300), (3, 900, 300), (16, 400, 500), (150, 40, 700), (700, 10, 300), (300, 400, 1)]
    for m, n, k in [*few, (300, 250, 10), (250, 200, 150), (700, 3, 300), (200, 3300, 20)]:
        a, b, _, _ = operands(rng, m, n, k, dtype, trans_a, trans_b)
        y = rng.standard_normal((m, n)).astype(dtype)
        results = []
        for count in (1, 2, 3, 5):
            threads(count)
            c, db = np.full((m, n), np.nan, dtype), np.full(n, np.nan, dtype)
            gemm(a, b, c, trans_a=trans_a, trans_b=trans_b, epilogue="backprop", activation="elu", y=y, db=db)
            plain = np.full((m, n), np.nan, dtype)  # its rows are shared out otherwise than those with sums
            gemm(a, b, plain, trans_a=trans_a, trans_b=trans_b)
            results.append(c.tobytes() + db.tobytes() + plain.tobytes())
        assert len(set(results)) == 1, (m, n, k)


def test_rows_do_not_depend_on_their_neighbours(isa):
    """A tile cut off at an edge gives the bits of a full one, as long as the path is the same."""
    if isa in GPUS:
        pytest.skip("a GPU's splits of K depend on the whole shape")
    rng = np.random.default_rng(9)
    a = rng.standard_normal((403, 300)).astype(np.float32)
    b = rng.standard_normal((300, 301)).astype(np.float32)
    whole = np.empty((403, 301), np.float32)
    gemm(a, b, whole)
    for rows, columns in [(399, 203), (250, 301), (200, 77), (150, 50), (40, 90), (3, 5)]:
        part = np.empty((rows, columns), np.float32)
        gemm(a[:rows], b[:, :columns], part)
        assert np.array_equal(whole[:rows, :columns], part), (rows, columns)


def test_raw_binding_refuses_what_would_leave_the_arrays(one_line):
    a, c = np.ones((4, 3), np.float32), np.ones((4, 5), np.float32)
    with one_line(ValueError, r"gemm: b is not \(3, 5\)"):
        gemm(a, np.ones((3, 6), np.float32), c)
    with one_line(TypeError, "gemm: b has another dtype than c"):
        gemm(a, np.ones((3, 5)), c)
    with one_line(ValueError, "gemm: a has rows that are not contiguous"):
        gemm(np.ones((4, 6), np.float32)[:, ::2], np.ones((3, 5), np.float32), c)
    with one_line(ValueError, "gemm: epilogue is 'relu'; choose one of: none"):
        gemm(a, np.ones((3, 5), np.float32), c, epilogue="relu")
    with one_line(ValueError, "gemm: backprop of gelu needs z"):
        gemm(a, np.ones((3, 5), np.float32), c, epilogue="backprop", activation="gelu", y=c.copy())
