"""reduce, softmax and loss on a GPU: sizes around the borders of its kernels, bits, and the CPU's corner cases."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import test_loss
import test_reductions
import tolerance
from conftest import GPUS
from deltarule import _core
from kernel_cases import DTYPES, bits, moved, within

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPUS, reason="no GPU")]
kernels = _core.kernels

# A warp or a block a row, chunks of rows; lanes, warps and chunks of columns, a thread each for very many
SHAPES = [
    (7, 512, 1), (7, 513, 1), (40, 520, 1), (4097, 513, 1), (3, 16_389, 1), (300, 17_000, 1),
    (1, 8, 3), (1, 9, 3), (1, 1000, 10), (1, 4096, 10), (1, 100, 800), (2, 1025, 3), (600, 40, 5),
    (1, 528, 300), (1, 100_000, 2), (3, 9, 45_000), (40_000, 9, 4),
]  # fmt: skip
COLS = [1, 2, 4, 5, 128, 129, 256, 257, 512, 513, 1024, 1025, 1028, 8192, 8193]


@pytest.fixture(autouse=True)
def on_gpu():
    kernels.set_device(GPUS[0] if GPUS else "cpu")
    yield
    kernels.set_device("cpu")


def both(call):
    """What call() gives on the CPU and on the GPU."""
    kernels.set_device("cpu")
    here = call()
    kernels.set_device(GPUS[0])
    return here, call()


@pytest.mark.parametrize("op", kernels.reduction_names)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reductions_and_their_bits(shape, op):
    """Wherever the array starts the bits are the same: places in memory choose accesses, not the order."""
    rng = np.random.default_rng(1)
    for dtype in DTYPES:
        if op in ("sum", "sum_squares"):
            x = rng.uniform(-1.5, 1.5, shape).astype(dtype)
        elif op == "prod":
            x = rng.uniform(0.9, 1.1, shape).astype(dtype)
        else:
            x = rng.integers(-2, 3, shape).astype(dtype)
            x.reshape(-1)[rng.integers(0, x.size, 3)] = np.nan
        found = [test_reductions.result(op, moved(x, start)) for start in (0, 1, 0)]
        test_reductions.check(op, x, found[0])
        assert bits(found[0]) == bits(found[1]) == bits(found[2])


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("cols", COLS)
def test_softmax_rows(cols, log):
    rng = np.random.default_rng(cols)
    for dtype in DTYPES:
        x = rng.normal(0, 4, (6, cols)).astype(dtype)
        if cols > 2:
            x[0, rng.integers(cols)] = -np.inf
            x[1, 1:] = x[2] = -np.inf
            x[3, rng.integers(cols)], x[4, rng.integers(cols)] = np.nan, np.inf
        want = reference.softmax(x, log=log)
        for start in (0, 1):
            got = test_reductions.softmax(moved(x, start), log=log, start=start)
            within(got, want, tolerance.softmax(want, cols, dtype, log=log))


@pytest.mark.parametrize("kind", ["labels", "targets"])
@pytest.mark.parametrize("name", kernels.loss_names)
def test_losses(name, kind):
    """From one block to many, from lanes to blocks a row; the mean; the same bits again."""
    shapes = [(1, 1), (600, 1), (128, 10), (129, 10), (4096, 10), (9, 128), (9, 129), (1, 2050), (2100, 130)]
    for number, (rows, cols) in enumerate(shapes):
        dtype = DTYPES[number % 2]
        case = test_loss.problem(name, rows, cols, dtype, kind, weighted=number % 3 != 0)
        test_loss.check(name, *case, 1 / rows, number % 4)
        value, weight = reference.loss(name, *case)[0], rows if case[3] is None else sum(map(float, case[3]))
        dy = [np.empty((rows, cols), dtype) for _ in range(3)]
        found = [kernels.loss(name, *case, 0.5, out, mean=True) for out in dy[:2]]
        assert found[0] == found[1]
        assert bits(dy[0]) == bits(dy[1])
        assert found[0][2] == weight
        within(found[0][0], 0.5 * value / weight, 1e-5 * abs(value / weight))
        kernels.loss(name, *case, 0.5 / weight, dy[2])
        assert bits(dy[0]) == bits(dy[2])


@pytest.mark.parametrize("kind", ["labels", "targets"])
@pytest.mark.parametrize("name", kernels.loss_names)
def test_loss_of_nan_and_inf_is_the_cpu_s(name, kind):
    rng = np.random.default_rng(7)
    for cols in (1, 2, 10, 130):
        for _ in range(40):
            rows = int(rng.integers(1, 5))
            y, labels, targets, _ = test_loss.problem(name, rows, cols, np.float32, kind, weighted=False)
            y = rng.integers(-1, 2, y.shape).astype(np.float32)
            for bad in rng.choice([np.nan, np.inf, -np.inf], rng.integers(0, 4)):
                y[rng.integers(rows), rng.integers(cols)] = bad
            if targets is not None:
                targets = rng.integers(0, 2, targets.shape).astype(np.float32)
                if rng.random() < 0.2:
                    targets[rng.integers(rows), rng.integers(cols)] = np.nan
            dy = np.empty_like(y)
            here, there = both(lambda: (*kernels.loss(name, y, labels, targets, None, 1.0, dy), dy.copy()))  # noqa: B023
            assert here[1:3] == there[1:3]
            for theirs, ours in ((there[0], here[0]), (there[3], here[3])):
                within(theirs, ours, tolerance.rounded(64, np.abs(ours) + 1, np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_add_up_as_row_after_row(dtype):
    """Where the order matters, and where it does not because nothing is rounded."""
    rng = np.random.default_rng(3)
    for rows in (1, 100, 1000, 5000):
        for weights in (
            np.zeros(rows), rng.integers(0, 2, rows), rng.uniform(0, 2, rows), rng.uniform(-1, 1, rows),
            10.0 ** rng.uniform(-30, 30, rows), np.full(rows, 0.1), np.full(rows, 1e-40), np.full(rows, 5e-324),
            np.where(rng.random(rows) < 0.1, np.inf, 1.0), np.where(rng.random(rows) < 0.1, np.nan, 1.0),
        ):  # fmt: skip
            w = weights.astype(dtype)
            want = 0.0
            for x in w:
                want += float(x)
            y, labels = np.zeros((rows, 3), dtype), np.zeros(rows, np.int64)
            got = kernels.loss("squared_error", y, labels, None, w)[2]
            assert got == want or (np.isnan(got) and np.isnan(want))


@pytest.mark.parametrize("name", kernels.loss_names)
def test_loss_of_nothing(name):
    for weights in (None, np.zeros(0, np.float32)):
        y, labels = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        assert kernels.loss(name, y, labels, None, weights, 1.0, y.copy(), mean=True) == (0, 0, 0)
