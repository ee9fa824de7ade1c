"""The oracle: every entry of the kernels' lists once more, in NumPy at higher precision.

Nothing of the library is used. Inputs are converted to long double (80 bits or more on x86 and ARM Linux)
first, so that the oracle's own rounding does not count, in float64 either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.longdouble]

PI = np.longdouble("3.14159265358979323846264338327950288")


def wide(x: ArrayLike) -> Array:
    return np.asarray(x, dtype=np.longdouble)


@contextmanager
def quiet() -> Iterator[None]:
    """inf and NaN are asked for."""
    with np.errstate(all="ignore"):
        yield


def erf(x: ArrayLike) -> Array:
    """2/sqrt(pi) e^(-x^2) sum of 2^n x^(2n+1) / (2n+1)!!: all terms of one sign. 1 from |x| = 7 on."""
    x = wide(x)
    inside = np.clip(x, -7, 7)
    term = inside.copy()
    total = term.copy()
    for n in range(1, 260):
        term = term * 2 * inside * inside / (2 * n + 1)
        total = total + term
    return total * np.exp(-inside * inside) * 2 / np.sqrt(PI)


def erfc(x: ArrayLike) -> Array:
    """1 - erf(x), its small values to full precision: a continued fraction from 2 on."""
    x = wide(x)
    far = np.fmax(x, 2)
    tail = wide(np.zeros_like(far))
    for k in range(200, 0, -1):
        tail = (wide(k) / 2) / (far + tail)
    return np.where(x > 2, np.exp(-far * far) / np.sqrt(PI) / (far + tail), 1 - erf(x))


def sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def normal_cdf(x: Array) -> Array:
    return erfc(-x / np.sqrt(wide(2))) / 2


def normal_density(x: Array) -> Array:
    return np.exp(-x * x / 2) / np.sqrt(2 * PI)


def away_from_inf(x: Array) -> Array:
    """Finite stand-ins for the infinities, so that inf * 0 is the limit."""
    return np.where(np.isinf(x), np.copysign(wide(1e4), x), x)


UNARY: dict[str, Callable[[Array], Array]] = {
    "negative": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "square": np.square,
    "sqrt": np.sqrt,
    "reciprocal": lambda x: 1 / x,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "erf": erf,
    "sigmoid": sigmoid,
}

BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}

REDUCTIONS: dict[str, Callable[[Array], Array]] = {
    "sum": lambda x: x.sum(1),
    "prod": lambda x: x.prod(1),
    "max": lambda x: x.max(1),
    "min": lambda x: x.min(1),
    "sum_squares": lambda x: (x * x).sum(1),
    "argmax": lambda x: x.argmax(1),
    "argmin": lambda x: x.argmin(1),
}


def _leaky(x: Array, slope: float) -> Array:
    return np.where(x < 0, slope * x, x)


def _softsign(x: Array, slope: float) -> Array:
    return np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x)))


# name: f(x, slope), f'(x, slope)
ACTIVATIONS: dict[str, tuple[Callable[[Array, float], Array], Callable[[Array, float], Array]]] = {
    "linear": (lambda x, _: x, lambda x, _: np.ones_like(x)),
    "threshold": (lambda x, _: np.where(np.isnan(x), x, x >= 0), lambda x, _: np.ones_like(x)),
    "sigmoid": (lambda x, _: sigmoid(x), lambda x, _: sigmoid(x) * sigmoid(-x)),
    "tanh": (lambda x, _: np.tanh(x), lambda x, _: 1 - np.tanh(x) ** 2),
    "scaled_tanh": (
        lambda x, _: wide("1.7159") * np.tanh(2 * x / 3),
        lambda x, _: wide("1.7159") * 2 / 3 * (1 - np.tanh(2 * x / 3) ** 2),
    ),
    "relu": (lambda x, _: np.maximum(x, 0), lambda x, _: np.where(x > 0, wide(1), 0)),
    "leaky_relu": (_leaky, lambda x, slope: np.where(x > 0, 1, wide(slope))),
    "elu": (
        lambda x, slope: np.where(x < 0, slope * np.expm1(x), x),
        lambda x, slope: np.where(x > 0, 1, slope * np.exp(x)),
    ),
    "gelu": (
        lambda x, _: np.where(x == np.inf, x, away_from_inf(x) * normal_cdf(x)),
        lambda x, _: normal_cdf(x) + away_from_inf(x) * normal_density(x),
    ),
    "softplus": (lambda x, _: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), lambda x, _: sigmoid(x)),
    "softsign": (_softsign, lambda x, _: 1 / (1 + np.abs(x)) ** 2),
    "gaussian": (lambda x, _: np.exp(-x * x), lambda x, _: -2 * away_from_inf(x) * np.exp(-x * x)),
}


def activation(name: str, x: ArrayLike, slope: float = 0.0) -> Array:
    with quiet():
        return ACTIVATIONS[name][0](wide(x), slope)


def activation_derivative(name: str, x: ArrayLike, slope: float = 0.0) -> Array:
    with quiet():
        return ACTIVATIONS[name][1](wide(x), slope)


def softmax(x: ArrayLike, *, log: bool = False) -> Array:
    with quiet():
        x = wide(x)
        shifted = x - x.max(1, keepdims=True, initial=-np.inf)
        total = np.exp(shifted).sum(1, keepdims=True)
        return shifted - np.log(total) if log else np.exp(shifted) / total


# name: loss of each row, its gradient; targets [rows, cols]
LOSSES: dict[str, Callable[[Array, Array], tuple[Array, Array]]] = {
    "squared_error": lambda y, t: (((y - t) ** 2).sum(1) / 2, y - t),
    "binary_cross_entropy": lambda y, t: (
        (np.maximum(y, 0) - y * t + np.log1p(np.exp(-np.abs(y)))).sum(1),
        sigmoid(y) - t,
    ),
    "softmax_cross_entropy": lambda y, t: (
        -(t * softmax(y, log=True)).sum(1),
        softmax(y) * t.sum(1, keepdims=True) - t,
    ),
}


def one_hot(labels: NDArray[np.int64], cols: int) -> Array:
    """[rows] -> [rows, cols]; with one column the labels themselves."""
    if cols == 1:
        return wide(labels)[:, None]
    return (labels[:, None] == np.arange(cols)).astype(np.longdouble)


def loss(
    name: str,
    y: NDArray[np.floating],
    labels: NDArray[np.int64] | None = None,
    targets: NDArray[np.floating] | None = None,
    weights: NDArray[np.floating] | None = None,
    scale: float = 1.0,
) -> tuple[np.longdouble, Array, int]:
    """Value, gradient and number of wrong rows, as LossArgs in kernels.h says."""
    y = wide(y)
    t = wide(targets) if targets is not None else one_hot(labels, y.shape[1])
    w = wide(weights) if weights is not None else wide(np.ones(len(y)))
    with quiet():
        rows, gradient = LOSSES[name](y, t)
        if targets is not None:
            if name == "squared_error":
                wrong = np.zeros(len(y), bool)
            elif name == "binary_cross_entropy":
                wrong = ((y > 0) != (t > 0.5)).any(1)
            else:
                wrong = y.argmax(1) != t.argmax(1)
        elif y.shape[1] == 1 and name != "softmax_cross_entropy":
            wrong = (y[:, 0] > (0.5 if name == "squared_error" else 0)) != (labels != 0)
        else:
            wrong = y.argmax(1) != labels
        return scale * (w * rows).sum(), scale * w[:, None] * gradient, int(wrong.sum())


def _sgd(w, g, m, v, lr, weight_decay, **_):
    return w - lr * (g + weight_decay * w), m, v


def _momentum(w, g, m, v, lr, momentum, weight_decay, **_):
    m = momentum * m + g + weight_decay * w
    return w - lr * m, m, v


def _nesterov(w, g, m, v, lr, momentum, weight_decay, **_):
    g = g + weight_decay * w
    m = momentum * m + g
    return w - lr * (g + momentum * m), m, v


def _adam(w, g, m, v, lr, beta1, beta2, eps, weight_decay, step, **_):
    g = g + weight_decay * w
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    corrected_m, corrected_v = m / (1 - beta1**step), v / (1 - beta2**step)
    return w - lr * corrected_m / (np.sqrt(corrected_v) + eps), m, v


def _adamw(w, g, m, v, lr, weight_decay, **rest):
    return _adam(w - lr * weight_decay * w, g, m, v, lr, weight_decay=0, **rest)


# name: (w, g, m, v, hyper-parameters) -> (w, m, v) after one update
OPTIMIZERS = {"sgd": _sgd, "momentum": _momentum, "nesterov": _nesterov, "adam": _adam, "adamw": _adamw}


def philox(seed: int, stream: int, index: int) -> list[int]:
    """Philox4x32-10 of one counter, in whole Python numbers (Salmon et al., SC 2011)."""
    word = 0xFFFFFFFF
    c = [index & word, index >> 32, stream & word, stream >> 32]
    k = [seed & word, seed >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & word, (p0 >> 32) ^ c[3] ^ k[1], p0 & word]
        k = [(k[0] + 0x9E3779B9) & word, (k[1] + 0xBB67AE85) & word]
    return c


def unit_float32(n: int, seed: int, stream: int) -> list[float]:
    return [(philox(seed, stream, i // 4)[i % 4] >> 8) / 2**24 for i in range(n)]


def unit_float64(n: int, seed: int, stream: int) -> list[float]:
    draws = [philox(seed, stream, i // 2)[2 * (i % 2) :][:2] for i in range(n)]
    return [(((high << 32) | low) >> 11) / 2**53 for low, high in draws]


def standard_normal(n: int, seed: int, stream: int) -> list[float]:
    """Box-Muller on pairs of unit_float64."""
    units = unit_float64(n + n % 2, seed, stream)
    numbers = []
    for u, v in zip(units[::2], units[1::2], strict=True):
        radius = math.sqrt(-2 * math.log1p(-u))
        numbers += [radius * math.cos(2 * math.pi * v), radius * math.sin(2 * math.pi * v)]
    return numbers[:n]


def permutation(n: int, seed: int, stream: int) -> list[int]:
    draws = [philox(seed, stream, i) for i in range(n)]
    return sorted(range(n), key=lambda i: ((draws[i][1] << 32) | draws[i][0], i))
