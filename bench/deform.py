"""Deformation of 29 x 29 images, elastic and affine, a fresh one for each; and scipy.ndimage on the same fields.

    python bench/deform.py [--threads 1,2] [--json FILE]
    python bench/deform.py --device cuda [--json FILE]

Times are per image. SciPy is handed noise and maps that were drawn in advance; ours draws its own. Its Gaussian runs
over all images' noise in one call, its look-up image by image, on one thread.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import harness
import numpy as np
from deltarule import _core
from deltarule.data import augment
from harness import Case, clock

SIDE = 29
SHAPE = (SIDE, SIDE)
AFFINE = augment.Affine(rotation=15, shear=15, scale=0.15)
ELASTIC = augment.Elastic(sigma=5, alpha=36)
RULES = {"elastic + affine": AFFINE + ELASTIC, "elastic": ELASTIC, "affine": AFFINE}
SEED, EPOCH = 1, 2


def philox(counters: np.ndarray) -> np.ndarray:
    """Words [n,4] of these counters of (SEED, the epoch's stream)."""
    low, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    stream = np.uint64(_core.deform_stream(EPOCH))
    c = [
        counters & low,
        counters >> high,
        np.full_like(counters, stream & low),
        np.full_like(counters, stream >> high),
    ]
    key = [SEED, 0]
    for _ in range(10):
        p, q = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(q >> high) ^ c[1] ^ np.uint64(key[0]), q & low, (p >> high) ^ c[3] ^ np.uint64(key[1]), p & low]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return np.stack(c, 1).astype(np.uint32)


def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise [n,2,h,w] and the first counters' words [n,4] of so many samples, as csrc/formulas/deform.h has them."""
    in_row = -(-SIDE // 4)
    each = 1 + SIDE * in_row
    words = philox(np.arange(count * each, dtype=np.uint64)).reshape(count, each * 4)
    noise = words[:, 4:].reshape(count, SIDE, in_row * 4)[:, :, :SIDE]
    halves = np.stack([(noise & 0xFFFF).astype(np.uint16), (noise >> 16).astype(np.uint16)], 1).view(np.int16)
    return ((halves.astype(np.float32) + 0.5) / 2**15).astype(np.float32), words[:, :4]


def matrices(words: np.ndarray) -> np.ndarray:
    """From places (x, y) in the deformed image to those in the original, [n,2,2]."""
    coin, *unit = (words.view(np.int32).T.astype(np.float64) + 0.5) / 2**31
    turned = (coin < 0)[:, None, None]
    angle = np.radians(15 * unit[0])
    one, zero, cosine, sine, tangent = (
        np.ones_like(angle), np.zeros_like(angle), np.cos(angle), np.sin(angle), np.tan(angle),
    )  # fmt: skip
    rotation = np.array([[cosine, -sine], [sine, cosine]]).transpose(2, 0, 1)
    shear = np.array([[one, tangent], [zero, one]]).transpose(2, 0, 1)
    scale = np.array([[1 + 0.15 * unit[1], zero], [zero, 1 + 0.15 * unit[2]]]).transpose(2, 0, 1)
    return np.linalg.inv(np.where(turned, rotation, shear) @ scale)


def scipy_images(name: str, x: np.ndarray) -> Callable[[], np.ndarray]:
    """The same images by SciPy."""
    from scipy import ndimage

    noise, words = drawn(len(x))
    maps = matrices(words) if "affine" in name else np.broadcast_to(np.eye(2), (len(x), 2, 2))
    middle = (SIDE - 1) / 2
    rows, columns = np.mgrid[:SIDE, :SIDE] - middle
    grid = np.stack([columns, rows]).astype(np.float32).reshape(2, -1)
    images, maps = x.reshape(-1, *SHAPE).astype(np.float32), maps.astype(np.float32)
    out = np.empty_like(images)

    def call() -> np.ndarray:
        places = (maps @ grid + np.float32(middle)).reshape(-1, 2, *SHAPE)
        if "elastic" in name:
            sigma = (0, 0, ELASTIC.sigma, ELASTIC.sigma)
            smooth = ndimage.gaussian_filter(noise, sigma, mode="constant", truncate=ELASTIC.truncate)
            places = places + np.float32(ELASTIC.alpha) * smooth
        for image, at, to in zip(images, places, out, strict=True):
            ndimage.map_coordinates(image, at[::-1], to, order=1, mode="grid-constant")
        return out

    return call


def check(name: str, got: Any, want: np.ndarray) -> None:
    """Places are right to 1e-4 pixels, pixels go from 0 to 255."""
    worst = np.abs(np.asarray(got).reshape(want.shape) - want).max()
    if not worst <= 0.1:
        raise AssertionError(f"{name}: off by {worst} of 255")


def facts_of(name: str, images: int) -> dict[str, Any]:
    return {"rule": name, "images": images, "shape": [SIDE, SIDE]}


def cases(options: argparse.Namespace) -> Iterator[Case]:
    images = 60 if options.quick else 3000
    x = np.random.default_rng(0).integers(0, 256, (images, SIDE * SIDE)).astype(np.uint8)
    out = _core.empty((images, SIDE * SIDE), "float32", "cpu")
    for name, rule in RULES.items():
        own = functools.partial(rule.deform, x, SHAPE, SEED, EPOCH, out=out)
        peers = {}
        if harness.installed("scipy"):
            peer = scipy_images(name, x)
            check(name, own(), peer())
            peers["scipy"] = clock(peer)
        yield Case(
            "deform", f"{name} {SIDE}x{SIDE}", clock(own), peers,
            steps=images, elements=SIDE * SIDE, facts=facts_of(name, images),
        )  # fmt: skip


# On a GPU: a whole epoch's images in one call.


def gpu_case(name: str, options: argparse.Namespace) -> Iterable[Case]:
    import gpu

    images = 60 if options.quick else 60_000
    x = np.random.default_rng(0).integers(0, 256, (images, SIDE * SIDE)).astype(np.uint8)
    there = gpu.ours(x)
    out = gpu.ours(np.empty((images, SIDE * SIDE), np.float32))
    own = functools.partial(RULES[name].deform, there, SHAPE, SEED, EPOCH, out=out)
    own()
    few = RULES[name].deform(x[:1000], SHAPE, SEED, EPOCH)
    if not np.array_equal(gpu.host(out)[: len(few)], np.asarray(few)):
        raise AssertionError(f"{name}: the bits are not the CPU's")
    size = images * SIDE * SIDE * 5
    label = f"{name}, {images} of {SIDE}x{SIDE}"
    yield Case("deform", label, gpu.clock(own, "deltarule"), {}, bytes=size, facts=facts_of(name, images))


def gpu_entries(options: argparse.Namespace) -> Iterator[tuple]:
    for name in RULES:
        yield name, functools.partial(gpu_case, name, options)


if __name__ == "__main__":
    harness.main(__doc__, cases, gpu_entries=gpu_entries)
