"""copy: every pair of dtypes over random grids, and transposes around the tiles of the CUDA kernel."""

from __future__ import annotations

import itertools

import kernel_cases as cases
import numpy as np
import pytest
from deltarule import _core

kernels = _core.kernels

ALL = [np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_]


def values(shape, source, to, rng):
    """Numbers that the pair of dtypes holds, or that C's conversions of integers wrap."""
    if np.dtype(source).kind == "f":
        low, high = (0, 255) if to is np.uint8 else (-(2.0**31) * 0.99, 2.0**31 * 0.99)
        x = rng.uniform(low, high, shape)
        return np.where(rng.random(shape) < 0.3, np.round(x / 2**24), x).astype(source)
    if source is np.bool_:
        return rng.random(shape) < 0.5
    limits = np.iinfo(source)
    return rng.integers(limits.min, limits.max, shape, source, endpoint=True)


def random_view(rng, largest=200):
    """A function from an array of some shape to a view of it: rank up to 8, steps, reversals, swapped axes."""
    rank = int(rng.integers(0, 9))
    extents = [int(e) for e in rng.integers(1, 1 + max(2, round(largest ** (1 / max(rank, 1)))), rank)]
    steps = [int(s) for s in rng.choice([1, 1, 1, 2, 3, -1, -2], rank)]
    whole = [1 + (e - 1) * abs(s) + int(rng.integers(0, 2)) for e, s in zip(extents, steps, strict=True)]
    order = rng.permutation(rank) if rng.random() < 0.5 else np.arange(rank)

    def take(array):
        cut = tuple(
            slice((e - 1) * -s if s < 0 else 0, None if s < 0 else 1 + (e - 1) * s, s)
            for e, s in zip(extents, steps, strict=True)
        )
        return array[(*cut, ...)].transpose(order)

    return whole, take


@pytest.mark.parametrize("to", ALL)
@pytest.mark.parametrize("source", ALL)
def test_every_pair_over_random_grids(isa, source, to):
    rng = np.random.default_rng([ALL.index(source), ALL.index(to)])
    for trial in range(60):
        whole, take = random_view(rng, 3000 if trial % 6 == 0 else 200)
        x = take(cases.moved(values(whole, source, to, rng), trial % 3))
        # The output: packed at some start, or a view of the same kind with room around it.
        if trial % 2:
            guard = cases.Guarded(x.shape, to, trial % 5)
            kernels.copy(x, guard.array)
            y = guard.check()
        else:
            room = np.zeros([2 * extent + 1 for extent in x.shape], to)
            cut = tuple(slice(1, None, 2) if rng.random() < 0.5 else slice(-2, None, -2) for _ in x.shape)
            y = room[(*cut, ...)]
            kernels.copy(x, y)
            rest = room.copy()
            rest[cut] = 0
            assert not rest.any()
        assert np.array_equal(y, x.astype(to))
        if x.ndim and x.size:  # one axis repeated
            axis = int(rng.integers(0, x.ndim))
            repeated = np.broadcast_to(x.take([0], axis), x.shape)
            guard = cases.Guarded(x.shape, to, trial % 5)
            kernels.copy(repeated, guard.array)
            assert np.array_equal(guard.check(), repeated.astype(to))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_transposes_around_the_tiles(isa, dtype):
    """Tiles of 32 x 32: every remainder that matters, batches of matrices, padded rows on both sides."""
    rng = np.random.default_rng(8)
    for rows, cols in itertools.product((15, 16, 17, 31, 32, 33, 64, 100), (16, 31, 32, 33, 65)):
        x = rng.integers(0, 200, (rows, cols)).astype(dtype)
        guard = cases.Guarded((cols, rows), dtype, 1)
        kernels.copy(x.T, guard.array)
        assert np.array_equal(guard.check(), x.T)
        whole = np.zeros((cols, rows + 3), dtype)
        kernels.copy(x.T, whole[:, 1:-2])
        assert np.array_equal(whole[:, 1:-2], x.T)
        assert not whole[:, :1].any()
        assert not whole[:, -2:].any()
    x = rng.integers(0, 200, (3, 40, 2, 50)).astype(dtype)
    for axes in itertools.permutations(range(4)):
        y = cases.Guarded([x.shape[axis] for axis in axes], dtype)
        kernels.copy(x.transpose(axes), y.array)
        assert np.array_equal(y.check(), x.transpose(axes))


def test_what_does_not_fit_has_the_bits_of_x86(isa):
    """Around the bounds of int32 and int64, of both floating dtypes."""
    edges = [2.0**31, -(2.0**31), 2.0**63, -(2.0**63), 0.0, 255.0, 256.0, 2.0**24]
    for source in cases.DTYPES:
        x = np.array(edges, source)
        x = np.concatenate([x, np.nextafter(x, source(np.inf)), np.nextafter(x, source(-np.inf))])
        x = np.concatenate([x, np.array([np.nan, np.inf, -np.inf, -0.0, -0.5, 0.5], source)])
        wide = [int(v) if np.isfinite(v) and -(2**63) <= v < 2**63 else -(2**63) for v in x.tolist()]
        narrow = [int(v) if np.isfinite(v) and -(2**31) <= v < 2**31 else -(2**31) for v in x.tolist()]
        for to, want in (
            (np.int64, wide),
            (np.int32, narrow),
            (np.uint8, [w % 256 for w in wide]),
            (np.bool_, [v != 0 for v in x.tolist()]),
        ):
            y = np.empty(x.shape, to)
            kernels.copy(x, y)
            assert y.tolist() == want
