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
