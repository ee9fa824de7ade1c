"""Initial weights. Every initialiser fills W[I,O] from (seed, stream); biases start at 0."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .. import _core
from .._numbers import as_number

RECTIFIERS = frozenset({"relu", "leaky_relu", "elu", "gelu", "softplus"})


class Initializer(Protocol):
    """Anything with this method can be given as ``init``."""

    def fill(self, weights: _core.Array, seed: int, stream: int) -> None:
        """Fill weights[I,O] in place."""


def _check_deviation(init: object, name: str) -> None:
    """TypeError or ValueError if that number is none of 0 or more."""
    what = f"{type(init).__name__}: {name}"
    value = as_number(getattr(init, name), what)
    if not 0 <= value < math.inf:
        raise ValueError(f"{what} is {value:g}; wanted a finite number, at least 0")


def check(init: object, what: str) -> None:
    """TypeError if ``init`` is no initialiser: a name, a class, a function or an array."""
    arrays = (np.ndarray, _core.Array)  # whose `fill` is another one
    if isinstance(init, (type, *arrays)) or not callable(getattr(init, "fill", None)):
        shown = f"the class {init.__name__}" if isinstance(init, type) else repr(init)
        shown = "an array" if isinstance(init, arrays) else shown
        raise TypeError(f"{what} is {shown}; wanted an initialiser, such as nn.init.He()")


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

    def __post_init__(self) -> None:
        _check_deviation(self, "a")

    def fill(self, weights: _core.Array, seed: int, stream: int) -> None:
        """Fill weights[I,O] in place."""
        _core.fill_uniform(weights, seed, stream, -self.a, self.a)


@dataclass(frozen=True)
class Normal:
    """Normal with mean 0 and standard deviation ``std``."""

    std: float

    def __post_init__(self) -> None:
        _check_deviation(self, "std")

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
