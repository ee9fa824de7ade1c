"""gemm_hopper.cu's own: its schedule and plan, accuracy, and the emulated instructions it is tested with.

What it shares with the other kernels on tensor cores is in test_cuda_gemm_tensor_cores.py.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from tensor_cores import PRECISIONS, Hopper, chain
from test_gemm import operands

pytestmark = pytest.mark.slow  # compiles the kernels first

each_precision = pytest.mark.parametrize("precision", PRECISIONS)


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


@pytest.mark.parametrize("k", [200, 2500, 8192])
def test_six_products_are_no_worse_than_fma(hopper, k):
    """Root mean square errors of three planes and of a chain of fma, K up to far beyond those of nets.

    Of the CPU's float32, which sums in blocks, it is at K = 2500 0.4 on normal data and 1.1 on uniform data, where what
    the tensor cores cut off adds up.
    """
    rng = np.random.default_rng(14)
    for draw in (rng.standard_normal, rng.random):
        a, b = draw((60, k)).astype(np.float32), draw((k, 70)).astype(np.float32)
        exact = a.astype(np.float64) @ b.astype(np.float64)
        planes = np.empty((60, 70), np.float32)
        hopper.gemm(a, b, planes, plan=(128, 1))
        errors = [np.sqrt(np.mean((got - exact) ** 2)) for got in (planes, chain(a, b))]
        assert errors[0] <= errors[1], errors


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


def test_small_products_and_other_gpus_are_declined(hopper):
    a = np.zeros((64, 64), np.float32)
    with pytest.raises(AssertionError, match="declined"):
        hopper.gemm(a, a, a.copy())
    if Hopper.target():
        return
    code = "a = np.zeros((64, 64), np.float32); product.gemm(a, a, a.copy(), plan=product.simple)"
    result = hopper.elsewhere(code, DELTARULE_EMULATED_CAPABILITY="8.0")
    assert "AssertionError: declined" in result.stderr


@pytest.mark.skipif(Hopper.target() is not None, reason="the instructions are the GPU's own")
def test_emulated_instructions(hopper):
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
        command = [sys.executable, "-c", code, hopper.path, str(fault)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if fault in messages:
            assert result.returncode != 0
            assert messages[fault] in result.stderr
        else:
            assert result.stdout.strip() == ("nan" if fault == 2 else "7.0")
