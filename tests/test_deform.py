"""The slot `deform`: against SciPy on the same fields; the same bits everywhere."""

from __future__ import annotations

import kernel_cases as cases
import numpy as np
import pytest
import reference_deform as oracle
import tolerance
from deltarule import _core

kernels = _core.kernels
SEED, STREAM = 0x0123456789ABCDEF, 0xFEDCBA9876543210
ALL = {"rotation": 15.0, "shear": 20.0, "scale": (0.15, 0.2)}
SHAPES = [(1, 1), (1, 5), (5, 1), (3, 4), (8, 8), (16, 17), (29, 29), (7, 33), (40, 15)]


def images(n, shape, dtype, seed=0):
    x = np.random.default_rng(seed).integers(0, 256, (n, *shape))
    return x.astype(np.uint8) if dtype == np.uint8 else (x / 64 - 2).astype(np.float32)


def deform(x, *, rows=None, start=0, elastic=None, scale=(0.0, 0.0), fields=False, **given):
    """y[rows, h, w] of the raw slot, or (y, fields)."""
    n = len(x) if rows is None else rows
    y = cases.Guarded((n, *x.shape[1:]), np.float32, start)
    out = cases.Guarded((n, 2, *x.shape[1:]), np.float32, start) if fields else None
    for angle in ("rotation", "shear"):
        given[angle] = given.get(angle, 0.0) / 360
    if elastic is not None:
        sigma, radius, alpha = elastic
        given |= {"taps": oracle.taps(sigma, radius).tolist(), "alpha": alpha}
    kernels.deform(
        x,
        y.array,
        SEED,
        STREAM,
        scale_x=scale[0],
        scale_y=scale[1],
        fields=out.array if out else None,
        **given,
    )
    return (y.check(), out.check()) if out else y.check()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_affine_is_scipy_s(isa, shape, dtype):
    x = images(6, shape, dtype)
    y = deform(x, start=shape[1] % 4, background=3.0, **ALL)
    for i in range(len(x)):
        m = oracle.matrix(i, *shape, SEED, STREAM, **ALL)
        want = oracle.look_up(x[i], oracle.places(shape, m, 0.0), 3.0)
        tolerance.assert_within(y[i], want, tolerance.looked_up(x[i], 3.0, max(shape), 0, 0.0))


@pytest.mark.sanitize
@pytest.mark.parametrize("radius", [0, 1, 4, 10, 30])
@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (16, 17), (29, 29), (7, 33)], ids=str)
def test_elastic_is_scipy_s(isa, shape, radius):
    """The Gaussian with truncate = radius / sigma has the same taps."""
    sigma, alpha = (radius + 1) / 2.5, 20.0
    x = images(3, shape, np.uint8)
    y, fields = deform(x, elastic=(sigma, radius, alpha), fields=True, **ALL)
    for i in range(len(x)):
        noise = oracle.noise(i, *shape, SEED, STREAM)
        want = alpha * np.stack([oracle.smooth(field, sigma, radius / sigma) for field in noise])
        tolerance.assert_within(fields[i], want, tolerance.displacement(radius, alpha))
        at = oracle.places(shape, oracle.matrix(i, *shape, SEED, STREAM, **ALL), want)
        bound = tolerance.looked_up(x[i], 0.0, max(shape), radius, alpha)
        tolerance.assert_within(y[i], oracle.look_up(x[i], at, 0.0), bound)


def test_nothing_asked_for_is_the_image_itself(isa):
    for dtype in (np.uint8, np.float32):
        for shape in SHAPES:
            x = images(4, shape, dtype)
            assert np.array_equal(deform(x), x.astype(np.float32))


def test_far_displacements_give_the_background(isa):
    x = images(2, (9, 9), np.uint8)
    y, fields = deform(x, elastic=(1.0, 0, 1e6), background=-7.5, fields=True)
    outside = (np.abs(fields) > 12).any(1)
    assert outside.mean() > 0.99
    assert (y[outside] == -7.5).all()


def test_factor_multiplies_the_angle_alone(isa):
    x = images(3, (12, 12), np.float32)
    factor = np.array([0.0, 0.5, 1.0], np.float32)
    for one in ({"rotation": 60.0}, {"shear": 40.0}):
        y = deform(x, factor=factor, scale=(0.1, 0.1), **one)
        for i in range(3):
            m = oracle.matrix(i, 12, 12, SEED, STREAM, **one, scale=(0.1, 0.1), factor=factor[i])
            want = oracle.look_up(x[i], oracle.places((12, 12), m, 0.0), 0.0)
            tolerance.assert_within(y[i], want, tolerance.looked_up(x[i], 0.0, 12, 0, 0.0))


def test_a_sample_s_deformation_is_its_number_s(isa):
    """Wherever it stands in a call, and whichever part of the set the call has."""
    x = images(50, (11, 13), np.uint8)
    rule = {**ALL, "elastic": (2.0, 5, 15.0)}
    whole = deform(x, **rule)
    index = np.random.default_rng(1).permutation(50)[:31].astype(np.int64)
    assert cases.bits(deform(x, rows=31, index=index, **rule)) == cases.bits(whole[index])
    assert cases.bits(deform(x[20:], first=20, **rule)) == cases.bits(whole[20:])
    factor = np.linspace(0, 1, 50).astype(np.float32)
    scaled = deform(x, factor=factor, **rule)
    assert cases.bits(deform(x, rows=31, index=index, factor=factor, **rule)) == cases.bits(scaled[index])
    apart = np.zeros((50, 2, 11, 13), np.uint8)
    apart[:, 0] = x
    assert cases.bits(deform(apart[:, 0], **rule)) == cases.bits(whole)


def everything(n, shape):
    x = images(n, shape, np.uint8)
    factor = np.linspace(0, 1, n).astype(np.float32)
    found = deform(x, elastic=(5.0, 10, 30.0), factor=factor, fields=True, **ALL)
    return [cases.bits(part) for part in (*found, deform(x.astype(np.float32), **ALL))]


@pytest.mark.parametrize("shape", [(29, 29), (8, 8), (5, 70)], ids=str)
def test_every_table_and_device_gives_the_same_bits(isa, shape):
    """The fields and the images looked up by them."""
    found = everything(60, shape)
    kernels.set_device("cpu")
    before = _core.isa()
    _core.set_isa("scalar")
    same = everything(60, shape) == found
    _core.set_isa(before)
    assert same


def test_the_number_of_threads_changes_no_bit(threads):
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(everything(400, (29, 29)))
    assert found[0] == found[1] == found[2]


def test_images_too_large_for_shared_memory(isa):
    """On a GPU the intermediate results go to its memory: 256 KB of shared memory has none."""
    x = images(3, (150, 140), np.uint8)
    y = deform(x, elastic=(4.0, 8, 20.0), **ALL)
    kernels.set_device("cpu")
    assert cases.bits(deform(x, elastic=(4.0, 8, 20.0), **ALL)) == cases.bits(y)


def test_nothing_to_do(isa):
    for shape in ((0, 5, 5), (3, 0, 5), (3, 5, 0)):
        assert deform(np.zeros(shape, np.uint8), **ALL).shape == shape


def test_draws_are_spread_as_they_should_be():
    """Angles uniform in +-a, a fair coin between rotation and shear, scales uniform, displacements' deviation."""
    n = 4000
    shape = (29, 29)
    ramp = np.broadcast_to(np.arange(29, dtype=np.float32)[:, None] - 14, shape)
    ramps = np.repeat(ramp[None], n, 0).copy()
    # Where the image is its row number, the middle pixel's neighbours tell M's lower row.
    y = deform(ramps, rotation=20.0, shear=20.0, scale=(0.0, 0.1))
    yx, yy = y[:, 14, 15] - y[:, 14, 14], y[:, 15, 14] - y[:, 14, 14]
    sheared = yx == 0
    assert abs(sheared.mean() - 0.5) < 5 * 0.5 / np.sqrt(n)
    scale = 1 / np.hypot(yx, yy)
    assert 1.098 < scale.max() < 1.1001
    assert 0.8999 < scale.min() < 0.902
    assert abs(scale.mean() - 1) < 5 * 0.1 / np.sqrt(3 * n)
    angle = np.degrees(np.arctan2(-yx, yy))[~sheared]
    assert 19.5 < angle.max() < 20.001
    assert -20.001 < angle.min() < -19.5
    assert abs(angle.std() - 20 / np.sqrt(3)) < 0.5
    _, fields = deform(ramps[:500], elastic=(5.0, 10, 30.0), fields=True)
    middle = fields[:, :, 11:18, 11:18]
    weight = np.concatenate([oracle.taps(5.0, 10)[:0:-1], oracle.taps(5.0, 10)])
    want = 30 / np.sqrt(3) * (weight**2).sum()
    assert abs(middle.std() / want - 1) < 0.1
    assert abs(np.corrcoef(middle[:, 0].ravel(), middle[:, 1].ravel())[0, 1]) < 0.2


def test_settings_that_float32_or_memory_cannot_hold_are_refused():
    x = np.zeros((2, 36), np.uint8)
    with pytest.raises(ValueError, match=r"background is .*; wanted a finite float32"):
        _core.deform(x, 6, 6, _core.Deformation(rotation=10, background=1e39), 0, 0)
    with pytest.raises(ValueError, match=r"factor\[1\] is"):
        _core.deform(x, 6, 6, _core.Deformation(rotation=10), 0, 0, None, np.array([1, np.nan], np.float32))
    with pytest.raises(ValueError, match="first is -1"):
        _core.deform(x, 6, 6, _core.Deformation(rotation=10), 0, 0, None, None, -1)
    wide = np.zeros((1, 200_000), np.uint8)
    with pytest.raises(ValueError, match="too large"):
        _core.deform(wide, 200_000, 1, _core.Deformation(sigma=30, alpha=1, radius=63), 0, 0)
    images = _core.from_numpy(np.zeros((2, 36), np.float32))
    with pytest.raises(ValueError, match="out shares memory with x"):
        _core.deform(images, 6, 6, _core.Deformation(rotation=10), 0, 0, out=images)
