"""gemm_mma.cuh's own: its range, accuracy, plan, and the way through gemm's slot. What it shares with the other kernels
on tensor cores is in test_cuda_gemm_tensor_cores.py."""

from __future__ import annotations

import numpy as np
import pytest
from deltarule import _core
from tensor_cores import PRECISIONS, capability

pytestmark = pytest.mark.slow  # compiles the kernels first

each_precision = pytest.mark.parametrize("precision", PRECISIONS)


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
def test_rows_do_not_depend_on_their_neighbours(mma, precision):
    rng = np.random.default_rng(11)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((203, 150), (150, 301)))
    results = []
    for tile in mma.tiles(precision):
        whole = np.empty((203, 301), np.float32)
        mma.gemm(a, b, whole, precision=precision, plan=(tile, 1))
        results.append(whole)
        for rows, columns in [(199, 129), (50, 301), (1, 1)]:
            part = np.empty((rows, columns), np.float32)
            mma.gemm(a[:rows], b[:, :columns], part, precision=precision, plan=(tile, 1))
            assert np.array_equal(whole[:rows, :columns], part), (rows, columns)
    for other in results[1:]:  # an element is the same sum in tiles of every size
        assert np.array_equal(other, results[0])


# Run in a process of its own for each way in which the emulated tensor cores add.
ERRORS = """
from tensor_cores import chain
rng = np.random.default_rng(14)
for k in (2500, 4096):
    for draw in (rng.standard_normal, rng.random):
        a, b = draw((60, k)).astype(np.float32), draw((k, 62)).astype(np.float32)
        exact = a.astype(np.float64) @ b.astype(np.float64)
        for splits in (1, 4):
            got = np.empty((60, 62), np.float32)
            product.gemm(a, b, got, plan=("small", splits))
            errors = [np.sqrt(np.mean((x - exact) ** 2)) / np.sqrt(np.mean(exact**2)) for x in (got, chain(a, b))]
            print(k, draw.__name__, splits, *errors)
"""


@pytest.mark.parametrize("truncated", ["0", "1"])
def test_six_products_are_no_worse_than_fma(mma, truncated):
    """Root mean square errors of three planes and of a chain of fma, K as in the largest net; also where tensor
    cores cut off what they add instead of rounding."""
    result = mma.elsewhere(ERRORS, DELTARULE_EMULATED_TRUNCATION=truncated)
    assert result.returncode == 0, result.stderr
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


PAYS = "print(*[int(product.planned(1000, 1000, 1000, precision)[1]) for precision in PRECISIONS])"
# Through gemm's slot.
SLOT = """
from deltarule import _core
_core.kernels.set_device("cuda:0")
rng = np.random.default_rng(12)
for m, n, k in [(189, 190, 95), (100, 250, 1000)]:
    a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
    for precision in PRECISIONS:
        through, direct = np.empty((m, n), np.float32), np.empty((m, n), np.float32)
        _core.kernels.gemm(a, b, through, precision=precision)
        product.gemm(a, b, direct, precision=precision)
        print(int(np.array_equal(through, direct)))
"""


def words(result):
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.skipif(capability() is not None, reason="the GPU is what it is")
def test_products_are_left_to_faster_units(mma):
    want = {
        "7.5": "000",
        "8.0": "111",
        "8.6": "001",
        "8.9": "001",
        "9.0": "111",
        "10.0": "111",
        "12.0": "001",
    }
    for version, pays in want.items():
        found = words(mma.elsewhere(PAYS, DELTARULE_EMULATED_CAPABILITY=version))
        assert "".join(found) == pays, version


@pytest.mark.skipif("cuda:0" not in _core.devices(), reason="no GPU in this build")
@pytest.mark.skipif(capability() not in (None, "80", "90", "100", "103"), reason="float32 is faster")
def test_slot(mma):
    assert words(mma.elsewhere(SLOT, DELTARULE_CUDA_GEMM="mma")) == ["1"] * 6
