"""Samples (features and labels, row by row) and Dataset (a training and a test part of them)."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .._given import as_array
from .._numbers import as_count, as_number
from .checks import Array, check_shapes


def random_order(count: int, seed: int) -> npt.NDArray[np.int64]:
    """Permutation of ``count`` numbers, the same for a seed in every NumPy.

    Raw Philox words are sorted because NumPy (NEP 19) keeps these fixed, but not ``Generator.permutation``.
    """
    if seed < 0:
        raise ValueError(f"Samples.split: seed is {seed}; wanted 0 or more")
    return np.argsort(np.random.Philox(seed).random_raw(count), kind="stable")


def part_of(count: int, fraction: float) -> int:
    """round(count * fraction), or 0 where that leaves one side without a sample."""
    part = int(count * fraction + 0.5) if 0 < fraction < 1 else 0
    return part if part < count else 0


def choose_part(y: Array, fraction: float, seed: int, stratify: bool) -> npt.NDArray[np.bool_]:
    """Choose round(n * fraction) of n samples at random; y[n] -> mask[n].

    Stratified, class c with n_c samples gives n_c * part / n, rounded down; the places that are left go to
    the classes with the largest remainders, so no class is more than one sample away from its share.
    """
    n = len(y)
    part = part_of(n, fraction)
    if part == 0:
        raise ValueError(
            f"Samples.split: fraction is {fraction:g} of {n} samples; "
            "wanted between 0 and 1, with a sample or more on both sides"
        )
    order = random_order(n, seed)
    chosen = np.zeros(n, dtype=bool)
    if not stratify or y.dtype.kind == "f":
        chosen[order[:part]] = True
        return chosen
    _, label, count = np.unique(y, return_inverse=True, return_counts=True)
    quota, remainder = np.divmod(count * part, n)
    # Equal remainders are drawn by lot: else a tie would favour the first classes for every seed.
    lot = random_order(len(count), seed + 1)
    quota[np.lexsort((lot, -remainder))[: part - quota.sum()]] += 1
    for c, size in enumerate(quota):
        chosen[order[label[order] == c][:size]] = True
    return chosen


def _as_labels(y: Array) -> Array:
    """Whole numbers of every kind as int64."""
    if y.dtype.kind == "u" and y.size and int(y.max()) >= 2**63:
        raise ValueError(f"Samples: y holds label {int(y.max())}; wanted them below 2^63")
    return y.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Samples:
    """Features with their labels or targets.

    Attributes
    ----------
    x : array [n, d]
        Features, uint8, float32 or float64. Images are rows; uint8 stays uint8. Lists become arrays.
    y : array [n] or [n, k]
        int64 class labels, which other whole numbers and truth values become, or float32 / float64 targets.

    Raises
    ------
    TypeError, ValueError
        If dtypes, dimension counts or lengths do not fit. Values are read by `check_samples` only.

    Examples
    --------
    >>> samples = Samples(np.zeros((10, 3)), np.arange(10) % 2)
    >>> rest, part = samples.split(0.2, seed=0)
    >>> len(rest), len(part), part.y.tolist()
    (8, 2, [0, 1])
    """

    x: Array
    y: Array

    def __post_init__(self) -> None:
        x, y = as_array(self.x, "Samples: x"), as_array(self.y, "Samples: y")
        # Lists have no dtype of their own; that of an array is left as the user chose it.
        if not isinstance(self.x, np.ndarray) and x.dtype.kind in "biu" and x.dtype != np.uint8:
            x = x.astype(np.float64)
        if y.dtype.kind in "biu" and y.dtype != np.int64:
            y = _as_labels(y)
        check_shapes(x, y, "Samples")
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Any) -> Samples:
        """The samples at ``index``: integers [m], a mask [n] or a slice."""
        return Samples(self.x[index], self.y[index])

    def split(self, fraction: float, seed: int | None, stratify: bool = True) -> tuple[Samples, Samples]:
        """Split at random into ``(rest, part)``; both keep the original order of their samples.

        Parameters
        ----------
        fraction : float
            Share of the part, above 0 and below 1; it gets round(n * fraction) samples.
        seed : int or None
            The same seed gives the same split; None gives another one at every call.
        stratify : bool
            Give the part its share of every class, to within one sample. Targets have no classes: no effect.

        Raises
        ------
        TypeError
            If the fraction is no number, or the seed no whole number.
        ValueError
            If the fraction is not between 0 and 1, or leaves one side empty.
        """
        fraction = as_number(fraction, "Samples.split: fraction")
        seed = secrets.randbits(62) if seed is None else as_count(seed, "Samples.split: seed")
        chosen = choose_part(self.y, fraction, seed, stratify)
        return self.take(~chosen), self.take(chosen)


def hold_out(samples: Samples, test_fraction: float, seed: int, name: str) -> tuple[Samples, Samples]:
    """Training and test part of a source that has no test part; ValueError that begins with ``name``."""
    count = len(samples)
    if not part_of(count, test_fraction):
        raise ValueError(
            f"{name} has {count} sample{'' if count == 1 else 's'}; wanted enough for a test part, "
            f"which is {test_fraction:g} of them"
        )
    return samples.split(test_fraction, seed)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set with its test part held out.

    Attributes
    ----------
    name : str
    train, test : Samples
    classes : tuple of str, or None
        Name of every label; None for regression.
    image_shape : (height, width), or None
        Set where a row of x is a grey image.
    feature_names : tuple of str, or None
        Name of every feature, where the source names them.
    """

    name: str
    train: Samples
    test: Samples
    classes: tuple[str, ...] | None = None
    image_shape: tuple[int, int] | None = None
    feature_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.train.x.shape[1] != self.test.x.shape[1]:
            raise ValueError(
                f"Dataset {self.name}: train has {self.train.x.shape[1]} features, "
                f"test has {self.test.x.shape[1]}; wanted equal counts"
            )
        if self.train.y.shape[1:] != self.test.y.shape[1:]:
            raise ValueError(
                f"Dataset {self.name}: y has shape {self.train.y.shape} in train, "
                f"{self.test.y.shape} in test; wanted labels in both, or equally many targets"
            )
        if self.image_shape is not None and self.image_shape[0] * self.image_shape[1] != self.inputs:
            raise ValueError(
                f"Dataset {self.name}: image_shape is {self.image_shape} for {self.inputs} features; "
                "height * width must equal them"
            )

    @property
    def inputs(self) -> int:
        """Features of a sample, d."""
        return int(self.train.x.shape[1])

    @property
    def outputs(self) -> int:
        """Outputs a net needs: one per class, or one per target."""
        if self.train.y.ndim == 2:
            return int(self.train.y.shape[1])
        return len(self.classes) if self.classes is not None else int(self.train.y.max()) + 1

    def sha256(self) -> str:
        """Of all samples and targets: whether a resumed run sees the data it was started on."""
        total = hashlib.sha256()
        for samples in (self.train, self.test):
            for array in (samples.x, samples.y):
                total.update(f"{array.dtype} {array.shape}".encode())
                total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()
