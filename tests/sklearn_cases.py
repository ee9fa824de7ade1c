"""Data and comparisons that the tests of deltarule.sklearn share."""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(4)
X = RNG.standard_normal((90, 6))
Y = {
    "many": (X @ RNG.standard_normal((6, 3))).argmax(1),
    "two": (X[:, 0] * X[:, 1] > 0).astype(int),
    "several": (X @ RNG.standard_normal((6, 4)) > 0).astype(int),
    "number": np.sin(X[:, 0]) + X[:, 1] ** 2,
    "numbers": X[:, :2] * X[:, 2:4],
}


def parameters(estimator):
    """Weights, then biases, of every layer."""
    return [*estimator.coefs_, *estimator.intercepts_]


def same(a, b):
    """Whether two estimators have the same parameters, bit for bit."""
    return all(p.tobytes() == q.tobytes() for p, q in zip(parameters(a), parameters(b), strict=True))
