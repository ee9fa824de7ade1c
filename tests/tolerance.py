"""The only tolerances of the tests."""

import numpy as np


def ulps(got, exact):
    """|got - exact| in units in the last place of got's dtype at exact, float64. NaN stays NaN."""
    got = np.asarray(got)
    exact = np.asarray(exact, dtype=np.float64)
    unit = np.spacing(np.abs(exact).astype(got.dtype)).astype(np.float64)
    return np.abs(got.astype(np.float64) - exact) / unit


def trajectory(reference, steps, k, dtype):
    """Bound on what rounding may do to weights or a loss in so many training steps, element by element.

    One step adds the policy's (2 sqrt(K) + 4) u, K the longest sum of a step, of the tensor's largest element (at
    least 1, for biases start at 0 and logits are of this size). The steps' errors are taken to add up: nets of
    the tests are small and contract what came before. Observed worst: see tests/test_torch.py.
    """
    u = np.finfo(dtype).eps / 2
    size = np.maximum(1.0, np.max(np.abs(reference)))
    return steps * (2 * np.sqrt(k) + 4) * u * size


def through_network(want, dtype, width, depth, steps=1, scale=0.0):
    """Bound on outputs, gradients and weights of a network, one number for a tensor.

    Each of the 2 depth products of a step adds at most what `gemm` allows for K = width, of the size of the
    tensor's largest element (or of `scale`, where the tensor is a sum that cancels); the oracle's own float64
    errors count as much again.
    """
    unit = np.finfo(dtype).eps / 2
    size = max(float(np.abs(want).max(initial=0.0)), scale)
    return 2 * 2 * depth * steps * (2 * np.sqrt(width) + 4) * unit * size


def central_difference(gradient, direction):
    """Bound on |<g, u> - (L(p + h u) - L(p - h u)) / 2h| in float64 for h = 1e-5.

    h^2 of the series and 1e-16 / h of rounding are both about 1e-11, times third derivatives and |u|^3.
    """
    return 1e-8 * (1 + np.linalg.norm(gradient) * np.linalg.norm(direction))


def gemm(a, b, k, dtype, result):
    """Bound on |C - C64| of C = A B with K products an element, element by element.

    [(2 sqrt(K) + 4) u] (|A||B|) + u |C|: rounding errors of a chain add up like a random walk. Observed worst, float32:
    4 u on normal data, 1.0 sqrt(K) u on uniform data; one term dropped at K = 4096 is about 2,300 u.
    """
    u = np.finfo(dtype).eps / 2
    return (2 * np.sqrt(k) + 4) * u * (np.abs(a) @ np.abs(b)) + u * np.abs(result)


def summed(terms, dtype):
    """Bound on the rounding of a sum over the first axis, the same random walk."""
    u = np.finfo(dtype).eps / 2
    return (2 * np.sqrt(len(terms)) + 4) * u * np.abs(terms).sum(0)


def rounded(operations, size, dtype):
    """Bound on so many roundings of numbers of this size."""
    return operations * np.finfo(dtype).eps / 2 * np.abs(size)
