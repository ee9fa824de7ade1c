"""Initial weights. Every initialiser fills W[I,O] from (seed, stream); biases start at 0."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from .. import _core

RECTIFIERS = frozenset({"relu", "leaky_relu", "elu", "gelu", "softplus"})


class Initializer(Protocol):
    """Anything with this method can be given as ``init``."""

    def fill(self, weights: _core.Array, seed: int, stream: int) -> None:
        """Fill weights[I,O] in place."""


@dataclass(frozen=True)
class Zeros:
    """W = 0, as the perceptron starts; several layers of it would all learn the same."""

    def fill(self, weights: _core.Array, seed: int, stream: int) -> None:
        """Fill weights[I,O] in place."""
        weights[...] = 0


@dataclass(frozen=True)
class Uniform:
    """Uniform on [-a, a).

    Examples
    --------
    >>> import numpy as np
    >>> w = np.empty((3, 2), np.float32)
    >>> Uniform(0.05).fill(w, seed=0, stream=0)
    >>> bool(abs(w).max() <= 0.05)
    True
    """

    a: float

    def fill(self, weights: _core.Array, seed: int, stream: int) -> None:
        """Fill weights[I,O] in place."""
        _core.fill_uniform(weights, seed, stream, -self.a, self.a)


@dataclass(frozen=True)
class Normal:
    """Normal with mean 0 and standard deviation ``std``."""

    std: float

    def fill(self, weights: _core.Array, seed: int, stream: int) -> None:
        """Fill weights[I,O] in place."""
        _core.fill_normal(weights, seed, stream, 0.0, self.std)


@dataclass(frozen=True)
class LeCun:
    """Normal with variance 1/I (LeCun et al., "Efficient BackProp", 1998)."""

    def fill(self, weights: _core.Array, seed: int, stream: int) -> None:
        """Fill weights[I,O] in place."""
        Normal(math.sqrt(1 / weights.shape[0])).fill(weights, seed, stream)


@dataclass(frozen=True)
class Standard:
    """Uniform on [-1/sqrt(I), 1/sqrt(I)), variance 1/(3 I): what was usual before `Glorot`, which calls it standard.

    Activations and gradients shrink by a factor of about sqrt(3) a layer; for comparisons, and for redoing what was
    trained with it.
    """

    def fill(self, weights: _core.Array, seed: int, stream: int) -> None:
        """Fill weights[I,O] in place."""
        Uniform(math.sqrt(1 / weights.shape[0])).fill(weights, seed, stream)


@dataclass(frozen=True)
class Glorot:
    """Uniform with variance 2 / (I + O), for tanh-like units (Glorot & Bengio, AISTATS 2010)."""

    def fill(self, weights: _core.Array, seed: int, stream: int) -> None:
        """Fill weights[I,O] in place."""
        inputs, outputs = weights.shape
        Uniform(math.sqrt(6 / (inputs + outputs))).fill(weights, seed, stream)


@dataclass(frozen=True)
class He:
    """Normal with variance 2/I, for rectifiers (He et al., ICCV 2015)."""

    def fill(self, weights: _core.Array, seed: int, stream: int) -> None:
        """Fill weights[I,O] in place."""
        Normal(math.sqrt(2 / weights.shape[0])).fill(weights, seed, stream)


def default(activation: str) -> Initializer:
    """He for rectifiers, Glorot for everything else."""
    return He() if activation in RECTIFIERS else Glorot()
