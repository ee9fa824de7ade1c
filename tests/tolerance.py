"""The only tolerances of the tests."""

import numpy as np


def ulps(got, exact):
    """|got - exact| in units in the last place of got's dtype at exact, float64. NaN stays NaN."""
    got = np.asarray(got)
    exact = np.asarray(exact, dtype=np.float64)
    unit = np.spacing(np.abs(exact).astype(got.dtype)).astype(np.float64)
    return np.abs(got.astype(np.float64) - exact) / unit
