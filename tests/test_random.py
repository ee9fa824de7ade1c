"""Philox and what is drawn from it: known answers, the oracle, distributions, the same bits everywhere."""

from __future__ import annotations

import math

import kernel_cases as cases
import numpy as np
import pytest
import reference
import tolerance
from deltarule import _core

kernels = _core.kernels

SEED, STREAM = 0x0123456789ABCDEF, 0xFEDCBA9876543210
FULL = 0xFFFFFFFFFFFFFFFF
# Random123's kat_vectors: (seed, stream, index) -> words
KNOWN = [
    ((0, 0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ((FULL, FULL, FULL), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        (0x299F31D0A4093822, 0x0370734413198A2E, 0x85A308D3243F6A88),
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "words"), KNOWN)
def test_the_oracle_gives_the_known_answers(counter, words):
    assert reference.philox(*counter) == words


def draw(kind, n, dtype, seed=SEED, stream=STREAM, lo=0.0, hi=1.0, start=0):
    y = cases.Guarded(n, np.int64 if kind == "permutation" else dtype, start)
    kernels.fill_random(kind, y.array, seed, stream, lo, hi)
    return y.check()


def test_the_library_gives_the_known_answer():
    """Counter 0 under seed 0: the words themselves show in a uniform float64."""
    words = KNOWN[0][1]
    want = [(((words[1] << 32) | words[0]) >> 11) / 2**53, (((words[3] << 32) | words[2]) >> 11) / 2**53]
    assert draw("uniform", 2, np.float64, 0, 0).tolist() == want
    assert draw("uniform", 4, np.float32, 0, 0).tolist() == [(word >> 8) / 2**24 for word in words]


@pytest.mark.sanitize
@pytest.mark.parametrize("n", [*cases.SIZES, 300])
def test_uniform_is_the_oracle_s(isa, n):
    for start in cases.STARTS:
        assert draw("uniform", n, np.float32, start=start).tolist() == reference.unit_float32(n, SEED, STREAM)
        assert draw("uniform", n, np.float64, start=start).tolist() == reference.unit_float64(n, SEED, STREAM)
    scaled = np.float32(-2.5 + 4.0 * np.array(reference.unit_float32(n, SEED, STREAM)))
    assert np.array_equal(draw("uniform", n, np.float32, lo=-2.5, hi=1.5), scaled)


@pytest.mark.sanitize
@pytest.mark.parametrize("n", [*cases.SIZES, 300])
def test_normal_is_the_oracle_s(isa, n):
    want = np.array(reference.standard_normal(n, SEED, STREAM))
    got = draw("normal", n, np.float64)
    assert np.all(np.abs(got - want) <= tolerance.NORMAL_NUMBER * (1 + np.abs(want)))
    assert np.array_equal(draw("normal", n, np.float32), got.astype(np.float32))
    assert np.array_equal(draw("normal", n, np.float64, lo=3.0, hi=0.5), 3.0 + 0.5 * got)


@pytest.mark.sanitize
@pytest.mark.parametrize("n", [*cases.SIZES, 300, 5000])
def test_permutation_is_the_oracle_s(n):
    assert draw("permutation", n, None).tolist() == reference.permutation(n, SEED, STREAM)


def everything(n):
    return [
        cases.bits(draw(kind, n, dtype, lo=0.25, hi=3.0))
        for kind in ("uniform", "normal", "permutation")
        for dtype in cases.DTYPES
    ]


def test_the_same_bits_from_every_instruction_set_and_number_of_threads(threads):
    found = []
    before = _core.isa()
    try:
        for isa in (entry["name"] for entry in _core.isas() if entry["supported"]):
            _core.set_isa(isa)
            for count in (1, 2, 3):
                threads(count)
                found.append(everything(100_003))
    finally:
        _core.set_isa(before)
    assert all(bits == found[0] for bits in found)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 100, 128, 129, 256, 257, 1000, 60_000])
def test_every_device_draws_the_cpu_s_bits(isa, n):
    """A GPU sorts a permutation in buckets of its own: below, at and above one bucket and one turn of a block."""
    there = everything(n)
    kernels.set_device("cpu")
    assert there == everything(n)


def test_a_shorter_draw_is_the_beginning_of_a_longer_one():
    for kind, dtype in (
        ("uniform", np.float32),
        ("uniform", np.float64),
        ("normal", np.float32),
        ("normal", np.float64),
    ):
        assert np.array_equal(draw(kind, 70_001, dtype)[:1003], draw(kind, 1003, dtype))


def test_seeds_and_streams_differ():
    draws = [
        draw("uniform", 64, np.float64, seed, stream)
        for seed, stream in ((1, 0), (0, 1), (1, 1), (1 << 32, 0), (0, 1 << 32))
    ]
    values = np.concatenate(draws)
    assert len(np.unique(values)) == len(values)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_uniform_is_uniform(dtype):
    """Mean, variance, the ends, and a histogram: chi-squared of 99 degrees within 5 standard deviations."""
    n = 200_000
    u = draw("uniform", n, dtype, 1, 2).astype(np.float64)
    assert 0 <= u.min() < 1e-4
    assert 1 - 1e-4 < u.max() < 1
    assert abs(u.mean() - 0.5) < 5 / math.sqrt(12 * n)
    counts = np.histogram(u, 100, (0, 1))[0]
    chi_squared = ((counts - n / 100) ** 2 / (n / 100)).sum()
    assert abs(chi_squared - 99) < 5 * math.sqrt(2 * 99)
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 5 / math.sqrt(n)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_normal_is_normal(dtype):
    n = 200_000
    z = draw("normal", n, dtype, 3, 4).astype(np.float64)
    assert abs(z.mean()) < 5 / math.sqrt(n)
    assert abs(z.var() - 1) < 5 * math.sqrt(2 / n)
    assert abs((z**3).mean()) < 5 * math.sqrt(15 / n)
    assert abs((z**4).mean() - 3) < 5 * math.sqrt(96 / n)
    assert 3.9 < np.abs(z).max() < 6
    edges = np.linspace(-3, 3, 61)
    share = np.diff([0.5 * (1 + math.erf(edge / math.sqrt(2))) for edge in edges])
    counts = np.histogram(z, edges)[0]
    assert abs(((counts - n * share) ** 2 / (n * share)).sum() - 60) < 5 * math.sqrt(2 * 60)
    assert abs(np.corrcoef(z[::2], z[1::2])[0, 1]) < 5 / math.sqrt(n / 2)


def test_permutation_is_one_and_spreads():
    n = 100_000
    order = draw("permutation", n, None, 9, 9)
    assert np.array_equal(np.sort(order), np.arange(n))
    assert abs(np.corrcoef(order, np.arange(n))[0, 1]) < 5 / math.sqrt(n)


@pytest.mark.sanitize
@pytest.mark.parametrize("rate", [0.0, 0.25, 0.3, 0.9999])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_dropout_is_the_oracle_s(isa, dtype, rate):
    for n in (*cases.SIZES, 300):
        x = np.random.default_rng(n).normal(0, 1, n).astype(dtype)
        y = cases.Guarded(n, dtype, n % 3)
        kernels.dropout(x, y.array, rate, SEED, STREAM)
        kept = np.array(reference.unit_float32(n, SEED, STREAM)) >= rate
        assert np.array_equal(y.check(), np.where(kept, x / dtype(1 - rate), 0))
        kernels.dropout(x, x, rate, SEED, STREAM)
        assert cases.bits(x) == cases.bits(y.array)


def test_dropout_keeps_what_is_drawn_at_the_rate_itself(isa):
    """u >= rate is decided in the 24 bits of u: at u itself, and one unit above and below."""
    units = reference.unit_float32(40, SEED, STREAM)
    x = np.ones(40, np.float32)
    for unit in units[::7]:
        for rate in (unit, unit + 2**-24, unit - 2**-24, unit + 2**-30):
            y = np.empty_like(x)
            kernels.dropout(x, y, rate, SEED, STREAM)
            assert np.array_equal(y != 0, np.array(units) >= rate)
