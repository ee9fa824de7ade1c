"""The only tolerances of the tests."""

import numpy as np


def assert_within(got, want, bound):
    """|got - want| <= bound, element by element and of one shape; NaN on any side fails."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    errors = np.abs(got.astype(np.float64) - want)
    assert np.all(errors <= bound), f"off by {errors.max()}; allowed are {np.max(bound)}"


def ulps(got, exact):
    """|got - exact| in units in the last place of got's dtype at exact, as float64.

    0 where both are NaN, or the same infinity; where only one is, inf. An exact value that rounds to infinity
    counts as infinite.
    """
    got = np.asarray(got)
    exact = np.asarray(exact).astype(np.longdouble)
    limits = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        beyond = np.longdouble(limits.max) * (1 + np.longdouble(limits.epsneg) / 2)
        exact = np.where(np.abs(exact) >= beyond, np.copysign(np.inf, exact), exact)
        finite = np.isfinite(exact) & np.isfinite(got)
        size = np.where(finite & (exact != 0), np.abs(exact), np.longdouble(limits.smallest_normal))
        unit = np.exp2(np.maximum(np.floor(np.log2(size)), limits.minexp) - limits.nmant)
        same = (got == exact) | (np.isnan(got) & np.isnan(exact))
        errors = np.abs(got.astype(np.longdouble) - exact) / unit
    return np.where(same, 0.0, np.where(finite, np.minimum(errors, 1e300), np.inf)).astype(np.float64)


FLOAT32_RANGE, FLOAT64_RANGE = (-104.0, 89.0), (-746.0, 710.0)  # where e^x is neither 0 nor inf

# Unary functions: the range looked at in float32, in float64, the largest error allowed in ulp (half a unit
# where IEEE 754 rounds exactly). Observed worst, of three instruction sets and both dtypes, in the last column.
UNARY_ULPS = {
    "negative": ((-1e30, 1e30), (-1e300, 1e300), 0.0),
    "abs": ((-1e30, 1e30), (-1e300, 1e300), 0.0),
    "sign": ((-1e30, 1e30), (-1e300, 1e300), 0.0),
    "square": ((-1e18, 1e18), (-1e150, 1e150), 0.51),
    "sqrt": ((0.0, 1e30), (0.0, 1e300), 0.51),
    "reciprocal": ((-1e30, 1e30), (-1e300, 1e300), 0.51),
    "exp": (FLOAT32_RANGE, FLOAT64_RANGE, 1.25),  # 1.07
    "expm1": (FLOAT32_RANGE, FLOAT64_RANGE, 2.0),  # 1.78
    "log": ((0.0, 50.0), (0.0, 50.0), 1.0),  # 0.80
    "log1p": ((-1.0, 50.0), (-1.0, 50.0), 1.75),  # 1.44
    "tanh": ((-10.0, 10.0), (-20.0, 20.0), 1.5),  # 1.26 (float32: 1.07)
    "erf": ((-5.0, 5.0), (-7.0, 7.0), 1.5),  # 1.26
    "sigmoid": ((-104.0, 104.0), (-746.0, 746.0), 2.5),  # 2.40 (float32: 1.96, on a GPU 2.37)
}

NUMPYS_ULPS = 4  # of NumPy's and SciPy's own functions in float32; observed 3.0

# Activations: largest error of f in ulp; of f', where y is f(x) rounded, in eps of max(1, |f'|).
ACTIVATION_ULPS = {
    "linear": (0.0, 0.0),
    "threshold": (0.0, 0.0),
    "sigmoid": (2.5, 1.0),  # 2.40, 0.75
    "tanh": (1.5, 1.5),  # 1.26, 1.04
    "scaled_tanh": (4.0, 3.0),  # 3.12, 2.25
    "relu": (0.0, 0.0),
    "leaky_relu": (0.51, 0.0),
    "elu": (2.0, 0.5),  # 1.70, 0.19
    "gelu": (6.0, 2.5),  # 5.32 where f is a normal number, 1.92
    "softplus": (2.5, 1.0),  # 1.82, 0.63
    "softsign": (2.0, 1.0),  # 1.46, 0.92
    "gaussian": (1.5, 1.0),  # 1.22, 0.73
}


def sum_in_runs(terms, axis, dtype):
    """Bound on a sum of runs: at most 64 terms follow each other in `dtype`, runs are added in float64."""
    unit = np.finfo(dtype).eps / 2
    terms = np.abs(np.asarray(terms, dtype=np.float64))
    run = min(terms.shape[axis], 64)
    return unit * (np.sqrt(run) + 2) * terms.sum(axis)


def product(exact, n, dtype):
    """Bound on a product of n factors kept in float64, rounded to dtype last; float64 itself accumulates."""
    relative = np.finfo(dtype).eps / 2 + n * np.finfo(np.float64).eps
    return np.abs(exact) * relative + np.finfo(dtype).smallest_subnormal


def softmax(exact, cols, dtype, *, log):
    """Bound on softmax: e^x 1 ulp, the sum at most sqrt(cols) roundings of 1/2, a reciprocal, a product.

    Its argument x - max is exact to half an ulp of |x - max|: for p itself that is -log p times as much.
    """
    unit = np.finfo(dtype).eps
    if log:
        return unit * (np.abs(exact) + 3 + np.sqrt(min(cols, 1024)))
    with np.errstate(divide="ignore"):
        argument = np.where(exact > 0, -np.log(np.maximum(exact, np.finfo(dtype).tiny)), 0)
    return exact * unit * (4 + argument + np.sqrt(min(cols, 1024)) / 2) + np.finfo(dtype).smallest_subnormal


def loss_value(rows, weights, dtype):
    """Bound on the sum of the rows' losses: a few ulp's error in terms up to 1 and the loss itself."""
    unit = np.finfo(dtype).eps
    return unit * np.sum(np.abs(weights) * (8 + 8 * np.abs(np.asarray(rows, dtype=np.float64))))


def loss_gradient(y, factor, dtype):
    """Bound on dy: a probability or difference of a few ulp of max(1, |y|), times the factor."""
    size = np.maximum(1.0, np.abs(np.asarray(y, dtype=np.float64)).max(-1, keepdims=True, initial=0.0))
    return 4 * np.finfo(dtype).eps * size * np.abs(factor)


def stepped(exact, before, dtype):
    """Bound on a parameter or slot after one update: 8 roundings of what is added up in it."""
    size = np.abs(np.asarray(exact, np.float64)) + np.abs(np.asarray(before, np.float64)) + 1.0
    return 8 * np.finfo(dtype).eps / 2 * size


# Of nets as small as the tests', float32 against the float64 oracle.
PROBABILITY = 1e-6  # absolute; observed 5e-8
OUTPUT = 1e-5  # absolute, of logits up to 10; observed 2e-7
STATISTIC = 1e-4, 1e-6  # relative and absolute: moments and percentiles of a layer's numbers
JACOBIAN = 1e-4  # relative, singular values; against central differences in float64 with h = 1e-6
SINGULAR_VALUE = 1e-10  # relative, float64, by the roots of eigenvalues against LAPACK's decomposition
OTHER_DEVICE = 1e-3  # of a number and of its array's largest, after trainings of a few steps on two devices

# What nets of 200 tanh units are off, relative, from the theory of linear and infinitely wide ones: the factor
# from a layer to the next, observed 0.085, and the mean singular value, observed 0.019.
WIDE_FACTOR, WIDE_SINGULAR_VALUE = 0.1, 0.04
# Share of points by which another line may be better than the best of a grid of lines; 135 times as many: 0.0005.
LINES_BETWEEN = 0.002

NORMAL_NUMBER = 4e-15  # |z - exact| / (|exact| + 1), float64 Box-Muller against the C library's functions


def trajectory(reference, steps, k, dtype):
    """Bound on what rounding may do to weights or a loss in so many training steps, element by element.

    One step adds the policy's (2 sqrt(K) + 4) u, K the longest sum of a step, of the tensor's largest
    element (at least 1, for biases start at 0 and logits are of this size). The steps' errors are taken to
    add up: nets of the tests are small and contract what came before. Observed worst, tests/test_torch.py:
    0.06 of the bound in float32, 0.21 in float64.
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


# What rounding both operands to bfloat16 planes, and products of the lower planes left out, may do to a term,
# halved. One plane: a significand of 8 bits. Two planes: 2^-17 each and the product of the lower ones, 2^-16.
# Three planes: what is left out is below a rounding of the sum.
INPUT_UNIT = {"highest": 0.0, "high": 2.0**-16, "medium": 2.0**-8}


def gemm(a, b, k, dtype, result, precision="highest"):
    """Bound on |C - C64| of C = A B with K products an element, element by element.

    [(2 sqrt(K) + 4) u + 2 u_in] (|A||B|) + u |C|: rounding errors of a chain add up like a random walk, those
    of the operands need not cancel. Observed worst, float32: 4 u on normal data, 1.0 sqrt(K) u on uniform
    data; one term dropped at K = 4096 is about 2,300 u. Products below the normal numbers lose half a
    subnormal each.
    """
    u = np.finfo(dtype).eps / 2
    relative = (2 * np.sqrt(k) + 4) * u + 2 * INPUT_UNIT[precision]
    underflow = (k + 1) // 2 * float(np.finfo(dtype).smallest_subnormal)
    return relative * (np.abs(a) @ np.abs(b)) + u * np.abs(result) + underflow


def summed(terms, dtype):
    """Bound on the rounding of a sum over the first axis, the same random walk."""
    u = np.finfo(dtype).eps / 2
    return (2 * np.sqrt(len(terms)) + 4) * u * np.abs(terms).sum(0)


def rounded(operations, size, dtype):
    """Bound on so many roundings of numbers of this size."""
    return operations * np.finfo(dtype).eps / 2 * np.abs(size)


def displacement(radius, alpha):
    """Bound on alpha times noise below 1 smoothed twice by taps that sum to 1: a term a tap pair, rounded thrice."""
    return rounded(2 * (3 * radius + 2) + 1, alpha, np.float32)


def looked_up(image, background, size, radius, alpha):
    """Bound on a bilinear interpolation: what rounding moves a place (its terms are at most `size` and the
    displacement) times the steepest slope, and a few roundings of the values."""
    values = np.append(np.asarray(image, np.float64), background)
    moved = rounded(8, 2 * size + alpha, np.float32) + displacement(radius, alpha)
    return 2 * moved * np.ptp(values) + rounded(8, 2 * np.abs(values).max(), np.float32)


def drawn(deviation, count):
    """Bound on the mean of so many independent draws about its expectation: 4 deviations, beyond in 1 of 16,000 seeds.

    The deviation of a draw that is 1 with probability p, else 0, is sqrt(p (1 - p)).
    """
    return 4 * deviation / np.sqrt(count)


def from_polar(radius):
    """Bound on r cos(angle) and r sin(angle) of float32 r and angle.

    Their functions are good to 2 ulp, of an angle up to pi: 4 pi roundings; 4 of r, 4 of the cosine, one product.
    """
    return rounded(4 * np.pi + 9, radius, np.float32)


def sigmoid_after(output, z, step):
    """Bound on sigmoid(w + b) after so many float32 updates of w and b: |da| <= a |dz|, and the function's own ulps."""
    function = UNARY_ULPS["sigmoid"][2] * np.finfo(np.float32).eps
    return output * (trajectory(z, step + 1, 2, "float32") + function)


def rescaled(norm, count, dtype):
    """Bound on the norm of a vector of so many numbers that was scaled to it.

    The root of the sum of squares has half the policy's (2 sqrt(K) + 4) u; it, the wanted norm, their quotient and
    the products are rounded.
    """
    return rounded(np.sqrt(count) + 2 + 4, norm, dtype)
