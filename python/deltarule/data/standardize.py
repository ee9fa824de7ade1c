"""Standardisation fitted on the training part: x -> (x - shift) * scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._given import as_numbers
from .checks import Array, check_finite

# Rows of one block of the float64 sums: the copies stay small beside x (MNIST as float64 would be 376 MB).
BLOCK_ROWS = 1024


def mean_and_deviation(x: Array) -> tuple[Array, Array]:
    """x[n,d] -> mean[d] and standard deviation[d] in float64; two passes, so that no digits cancel."""
    blocks = [x[i : i + BLOCK_ROWS] for i in range(0, len(x), BLOCK_ROWS)]
    # Overflow to infinity is not hidden: fit refuses such a mean or deviation.
    with np.errstate(over="ignore", invalid="ignore"):
        mean = sum(b.sum(axis=0, dtype=np.float64) for b in blocks) / len(x)
        square = np.zeros(x.shape[1])
        for b in blocks:
            d = b - mean
            square += np.einsum("nd,nd->d", d, d)
        return mean, np.sqrt(square / len(x))


@dataclass(frozen=True, eq=False)
class Standardizer:
    """The affine map x -> (x - shift) * scale with shift = mean and scale = 1 / standard deviation.

    Attributes
    ----------
    shift, scale : float32 array [d]

    Examples
    --------
    >>> s = Standardizer.fit(np.array([[1.0, 7.0], [3.0, 7.0]]))
    >>> s.shift.tolist(), s.scale.tolist()
    ([2.0, 7.0], [1.0, 1.0])
    """

    shift: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]

    @classmethod
    def fit(cls, x: npt.ArrayLike, kind: str = "feature") -> Standardizer:
        """Fit on x[n,d], usually the training part.

        Parameters
        ----------
        x : array [n, d], or what NumPy makes one of
        kind : "feature" or "global"
            Mean and deviation (1/n) of every feature, or one of each over all values (usual for images).

        Notes
        -----
        A feature that is constant to float32 precision (deviation at most 2^-24 of its mean's size) gets
        scale 1: a larger one would only blow up rounding.

        Raises
        ------
        TypeError
            If x is no numbers.
        ValueError
            If x is empty, holds NaN or infinity, is beyond float32, or kind is unknown.
        """
        x = as_numbers(x, "Standardizer.fit: x")
        if x.ndim != 2 or x.size == 0:
            raise ValueError(
                f"Standardizer.fit: x has shape {x.shape}; wanted [samples, features], not empty"
            )
        check_finite(x, "Standardizer.fit: x")
        if kind == "feature":
            mean, deviation = mean_and_deviation(x)
        elif kind == "global":
            mean, deviation = (np.repeat(v, x.shape[1]) for v in mean_and_deviation(x.reshape(-1, 1)))
        else:
            raise ValueError(f"Standardizer.fit: kind is {kind!r}; choices: 'feature', 'global'")
        limits = np.finfo(np.float32)
        if not (np.all(np.abs(mean) <= limits.max) and np.all(deviation <= limits.max)):
            raise ValueError(f"Standardizer.fit: x goes beyond float32; wanted values below {limits.max:.3g}")
        constant = deviation <= np.maximum(limits.epsneg * np.abs(mean), limits.smallest_normal)
        scale = 1.0 / np.where(constant, 1.0, deviation)
        return cls(mean.astype(np.float32), scale.astype(np.float32))

    def apply(self, x: npt.ArrayLike) -> Array:
        """x[n,d] -> (x - shift) * scale; float64 for float64 x, else float32."""
        x = as_numbers(x, "Standardizer.apply: x")
        if x.ndim != 2 or x.shape[1] != len(self.shift):
            raise ValueError(
                f"Standardizer.apply: x has shape {x.shape}; wanted [samples, {len(self.shift)}]"
            )
        return (x - self.shift) * self.scale
