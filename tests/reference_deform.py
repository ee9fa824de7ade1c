"""The oracle of deformations: Philox word by word, maps by the C library, SciPy for the Gaussian and the look-up."""

from __future__ import annotations

import math

import numpy as np
import reference
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]


def signed(word: int, bits: int) -> int:
    return word - (1 << bits) if word >> (bits - 1) else word


def noise(sample: int, height: int, width: int, seed: int, stream: int) -> Array:
    """[2, height, width], x and y, in (-1, 1)."""
    in_row = -(-width // 4)
    start = sample * (1 + height * in_row) + 1
    words = [
        [word for c in range(in_row) for word in reference.philox(seed, stream, start + i * in_row + c)][
            :width
        ]
        for i in range(height)
    ]
    half = [[[signed(w & 0xFFFF, 16) for w in row] for row in words]]
    half += [[[signed(w >> 16, 16) for w in row] for row in words]]
    return (np.array(half) + 0.5) / 2**15


def matrix(
    sample: int, height: int, width: int, seed: int, stream: int,
    rotation: float = 0.0, shear: float = 0.0, scale: tuple[float, float] = (0.0, 0.0), factor: float = 1.0,
) -> Array:  # fmt: skip
    """From (x, y) of the deformed image to those of the original; angles in degrees."""
    words = reference.philox(seed, stream, sample * (1 + height * -(-width // 4)))
    coin, *unit = ((signed(word, 32) + 0.5) / 2**31 for word in words)
    turned = not shear or (rotation and coin < 0)
    angle = math.radians((rotation if turned else shear) * factor * unit[0])
    if turned:
        forward = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    else:
        forward = np.array([[1, math.tan(angle)], [0, 1]])
    return np.linalg.inv(forward @ np.diag([1 + s * u for s, u in zip(scale, unit[1:], strict=True)]))


def places(shape: tuple[int, int], m: Array, displacement: Array | float) -> Array:
    """[2, height, width]: x and y in the original image of every pixel of the deformed one."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    u, v = np.tensordot(m, np.stack([x - cx, y - cy]), 1)
    return np.stack([u + cx, v + cy]) + displacement


def look_up(image: NDArray, at: Array, background: float) -> Array:
    return ndimage.map_coordinates(
        image.astype(np.float64), at[::-1], order=1, mode="grid-constant", cval=background
    )


def smooth(field: Array, sigma: float, truncate: float) -> Array:
    return ndimage.gaussian_filter(field, sigma, mode="constant", truncate=truncate)


def taps(sigma: float, radius: int) -> Array:
    k = np.arange(radius + 1)
    height = np.exp(-(k**2) / (2 * sigma**2))
    return height / (2 * height.sum() - 1)
