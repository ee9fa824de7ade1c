"""Samples, Dataset, Standardizer, the checks, the embedded digits, and what `load` says to a wrong call."""

import subprocess
import sys

import numpy as np
import pytest
from deltarule import data
from deltarule.data import Dataset, Samples, Standardizer
from tolerance import ulps


def numbered_samples(y):
    """Samples whose x is their own number."""
    return Samples(np.arange(len(y), dtype=np.float32).reshape(-1, 1), y)


# Splitting


@pytest.mark.parametrize("stratify", [True, False])
@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.2, 0.5, 0.999])
def test_split_is_disjoint_complete_and_in_order(fraction, stratify):
    samples = numbered_samples(np.random.default_rng(2).integers(0, 7, 1000))
    rest, part = samples.split(fraction, 5, stratify)
    assert len(part) == round(1000 * fraction)
    assert len(rest) + len(part) == 1000
    numbers = np.concatenate([rest.x, part.x]).ravel().astype(int)
    assert sorted(numbers) == list(range(1000))
    for side in (rest, part):
        index = side.x.ravel().astype(int)
        assert (np.diff(index) > 0).all()
        assert (side.y == samples.y[index]).all()


@pytest.mark.parametrize("counts", [[500, 300, 199, 1], [1] * 40, [3, 3, 3], [997, 1, 1, 1], [7, 0, 13]])
@pytest.mark.parametrize("fraction", [0.1, 1 / 3, 0.75])
def test_split_is_stratified_to_one_sample(counts, fraction):
    y = np.random.default_rng(3).permutation(np.repeat(np.arange(len(counts)), counts))
    _, part = numbered_samples(y).split(fraction, 0)
    got = np.bincount(part.y, minlength=len(counts))
    share = np.array(counts) * (len(part) / len(y))
    assert got.sum() == int(len(y) * fraction + 0.5)
    assert (np.abs(got - share) < 1).all()


def test_split_of_single_samples_depends_on_the_seed():
    samples = numbered_samples(np.arange(40))
    chosen = [set(samples.split(0.25, seed)[1].y) for seed in range(20)]
    assert len(set.union(*chosen)) == 40


def test_same_seed_same_split():
    samples = numbered_samples(np.arange(500) % 3)
    first, same, other = (samples.split(0.3, seed)[1].x.ravel() for seed in (11, 11, 12))
    assert (first == same).all()
    assert (first != other).any()


def test_split_stays_the_same_in_every_version():
    """The test part of a data set is a promise: these numbers must never change."""
    _rest, part = numbered_samples(np.arange(20) % 2).split(0.3, 0)
    assert part.x.ravel().tolist() == [0, 3, 8, 9, 18, 19]


def test_unstratified_split_is_random():
    samples = numbered_samples(np.arange(100) // 50)
    counts = {int(samples.split(0.5, seed, stratify=False)[1].y.sum()) for seed in range(20)}
    assert len(counts) > 1


def test_targets_are_split_at_random():
    samples = numbered_samples(np.linspace(0, 1, 30).reshape(-1, 1))
    rest, part = samples.split(0.2, 0)
    assert len(part) == 6
    assert (np.sort(np.concatenate([rest.y, part.y]), axis=0) == samples.y).all()


@pytest.mark.parametrize(
    ("fraction", "n"), [(0, 9), (1, 9), (-0.1, 9), (1.5, 9), (float("nan"), 9), (0.01, 9), (0.99, 9)]
)
def test_split_refuses_an_empty_side(fraction, n, one_line):
    with one_line(
        ValueError, rf"^Samples.split: fraction is {fraction} of 9 samples; wanted between 0 and 1, with"
    ):
        numbered_samples(np.zeros(n, dtype=np.int64)).split(fraction, 0)


def test_split_refuses_a_negative_seed(one_line):
    with one_line(ValueError, r"^Samples.split: seed is -1; wanted 0 or more, below 2\^63$"):
        numbered_samples(np.zeros(9, dtype=np.int64)).split(0.5, -1)


# Samples and Dataset


def test_take():
    samples = numbered_samples(np.arange(5))
    for index in ([3, 1, 1], np.array([3, 1, 1])):
        assert samples.take(index).y.tolist() == [3, 1, 1]
        assert samples.take(index).x.ravel().tolist() == [
            3,
            1,
            1,
        ]
    assert samples.take(samples.y > 2).y.tolist() == [3, 4]
    assert samples.take(slice(0, 2)).y.tolist() == [0, 1]


def test_samples_are_frozen_and_not_copied():
    x = np.zeros((2, 3), dtype=np.uint8)
    samples = Samples(x, np.zeros(2, dtype=np.int64))
    assert samples.x is x
    with pytest.raises(AttributeError):
        samples.x = x


X, Y = np.zeros((3, 2), dtype=np.float32), np.zeros(3, dtype=np.int64)
BAD_SAMPLES = {
    "x dtype": (X.astype(int), Y, TypeError, r"x is int64; wanted uint8, float32, float64$"),
    "x dimensions": (
        X.reshape(3, 2, 1),
        Y,
        ValueError,
        r"x has shape \(3, 2, 1\); wanted \[samples, features\]$",
    ),
    "no features": (X[:, :0], Y, ValueError, r"x has shape \(3, 0\); wanted at least one feature$"),
    "lengths": (X, Y[:2], ValueError, r"x has 3 samples, y has 2; the lengths must be equal$"),
    "label dimensions": (
        X,
        Y.reshape(3, 1),
        ValueError,
        r"integer y has shape \(3, 1\); wanted class labels",
    ),
    "target dimensions": (
        X,
        Y / 1,
        ValueError,
        r"floating point y has shape \(3,\); wanted targets \[samples, outp",
    ),
    "text": (X, Y.astype(str), TypeError, r"y is str\d+; wanted integer labels or floating point targets$"),
}


@pytest.mark.parametrize("kind", BAD_SAMPLES)
def test_bad_samples(kind, one_line):
    x, y, error, message = BAD_SAMPLES[kind]
    with one_line(error, rf"^Samples: {message}"):
        Samples(x, y)
    with one_line(error, rf"^check_samples: {message}"):
        data.check_samples(x, y)


def test_bad_datasets(one_line):
    good = Samples(X, Y)
    with one_line(ValueError, r"^Dataset d: train has 2 features, test has 1; wanted equal counts$"):
        Dataset("d", good, Samples(X[:, :1], Y))
    with one_line(
        ValueError, r"^Dataset d: y has shape \(3,\) in train, \(3, 1\) in test; wanted labels in both, or"
    ):
        Dataset("d", good, Samples(X, np.zeros((3, 1))))
    with one_line(
        ValueError, r"^Dataset d: image_shape is \(2, 2\) for 2 features; height \* width must equal them$"
    ):
        Dataset("d", good, good, image_shape=(2, 2))


# Values

VALUES = {
    "nan": (
        np.array([[0, 1], [np.nan, np.inf]]),
        [0, 0],
        r"x holds nan at row 1, column 0 \(2 of 4 values are NaN",
    ),
    "inf": (
        np.array([[0, -np.inf], [0, 1]], np.float32),
        [0, 0],
        r"x holds -inf at row 0, column 1 \(1 of 4",
    ),
    "nan target": (np.zeros((2, 1)), [[0.0], [np.nan]], r"y holds nan at row 1, column 0 \(1 of 2"),
    "negative label": (np.zeros((2, 1)), [0, -1], r"y holds label -1 at row 1; wanted 0 to 2 \(3 classes\)$"),
    "label": (np.zeros((2, 1)), [3, 9], r"y holds label 3 at row 0; wanted 0 to 2 \(3 classes\)$"),
    "outputs": (np.zeros((2, 1)), [[0.0, 1.0]] * 2, r"y has 2 columns for 3 classes; wanted one per class$"),
    "no samples": (np.zeros((0, 1)), np.zeros(0, int), r"x has no samples; wanted at least one$"),
}


@pytest.mark.parametrize("kind", VALUES)
def test_check_samples_reads_the_values(kind, one_line):
    x, y, message = VALUES[kind]
    classes = None if kind == "nan target" else ("a", "b", "c")
    with one_line(ValueError, rf"^mine: {message}"):
        data.check_samples(x, y, classes, name="mine")


def test_check_samples_passes_what_is_good():
    data.check_samples(np.zeros((3, 2), dtype=np.uint8), [0, 2, 1], ["a", "b", "c"])
    data.check_samples(np.zeros((3, 2)), np.array([0, 2, 7], dtype=np.int32))
    data.check_samples(np.zeros((3, 2)), np.zeros((3, 2)), ["a", "b"])


def test_check_samples_without_classes_still_refuses_negative_labels(one_line):
    with one_line(ValueError, r"^check_samples: y holds label -2 at row 0; wanted 0 or more$"):
        data.check_samples(np.zeros((1, 1)), [-2])


# Standardisation


def inputs(dtype, n, d=7):
    rng = np.random.default_rng(n)
    if dtype == "uint8":
        return rng.integers(0, 256, (n, d)).astype(dtype)
    return (rng.normal(size=(n, d)) * np.geomspace(1e-3, 1e3, d) + np.linspace(-100, 100, d)).astype(dtype)


@pytest.mark.parametrize("kind", ["feature", "global"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("n", [2, 1023, 1024, 1025, 5000])
def test_standardizer_against_numpy(n, dtype, kind):
    x = inputs(dtype, n)
    x64 = x.astype(np.float64)
    axis = 0 if kind == "feature" else None
    mean, deviation = (np.broadcast_to(f(axis=axis), 7) for f in (x64.mean, x64.std))
    s = Standardizer.fit(x, kind)
    for got, wanted in ((s.shift, mean), (s.scale, 1 / deviation)):
        assert got.dtype == np.float32
        assert got.shape == (7,)
        assert np.all(ulps(got, wanted) <= 0.51)


@pytest.mark.parametrize(
    ("dtype", "result"), [("uint8", "float32"), ("float32", "float32"), ("float64", "float64")]
)
def test_apply(dtype, result):
    x = inputs(dtype, 100)
    s = Standardizer.fit(x)
    z = s.apply(x)
    assert z.dtype == np.dtype(result)
    assert z.shape == x.shape
    exact = (x.astype(np.float64) - s.shift.astype(np.float64)) * s.scale.astype(np.float64)
    assert np.all(ulps(z, exact) <= 2)


@pytest.mark.parametrize("kind", ["feature", "global"])
@pytest.mark.parametrize(
    ("value", "dtype"), [(0, "uint8"), (255, "uint8"), (0.1, "float64"), (-1e30, "float64"), (0.1, "float32")]
)
def test_constant_features_get_scale_1(value, dtype, kind):
    x = np.full((1000, 3), value, dtype=dtype)
    s = Standardizer.fit(x, kind)
    assert s.scale.tolist() == [1, 1, 1]
    assert (s.shift == np.float32(value)).all()


def test_constant_beside_varying_features():
    s = Standardizer.fit(np.array([[5.0, 0.0, 1e6], [5.0, 4.0, 1e6 + 1e-3]]))
    assert s.shift.tolist() == [5, 2, 1e6]
    assert s.scale.tolist() == [1, 0.5, 1]


def test_deviation_whose_inverse_float32_cannot_hold_gets_scale_1():
    assert Standardizer.fit(np.array([[1e-40, 1e-37], [-1e-40, -1e-37]])).scale.tolist() == [
        1,
        np.float32(1e37),
    ]


def test_one_sample():
    s = Standardizer.fit(np.array([[3, 4]], dtype=np.uint8))
    assert s.shift.tolist() == [3, 4]
    assert s.scale.tolist() == [1, 1]


BAD_FITS = {
    "nan": (np.array([[np.nan]]), "feature", r"x holds nan at row 0, column 0"),
    "empty": (np.zeros((0, 3)), "feature", r"x has shape \(0, 3\); wanted \[samples, features\], not empty$"),
    "dimensions": (np.zeros(3), "feature", r"x has shape \(3,\); wanted"),
    "kind": (np.zeros((2, 2)), "row", r"kind is 'row'; choices: 'feature', 'global'$"),
    "mean beyond float32": (
        np.full((2, 1), 1e39),
        "feature",
        r"x goes beyond float32; wanted values below 3.4e\+38$",
    ),
    "overflow": (np.array([[1e300], [-1e300]]), "global", r"x goes beyond float32"),
}


@pytest.mark.parametrize("kind", BAD_FITS)
def test_standardizer_refuses(kind, one_line):
    x, how, message = BAD_FITS[kind]
    with one_line(ValueError, rf"^Standardizer.fit: {message}"):
        Standardizer.fit(x, how)


def test_apply_wants_the_features_it_was_fitted_on(one_line):
    s = Standardizer.fit(np.zeros((2, 3)))
    with one_line(ValueError, r"^Standardizer.apply: x has shape \(2, 4\); wanted \[samples, 3\]$"):
        s.apply(np.zeros((2, 4)))


# load


def test_digits():
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_digits

    d, again, other = data.load("digits"), data.load("digits"), data.load("digits", seed=1)
    assert (d.name, d.classes, d.image_shape) == ("digits", tuple("0123456789"), (8, 8))
    assert d.train.x.dtype == np.uint8
    assert d.train.x.max() == 16
    assert (len(d.train), len(d.test)) == (1438, 359)
    assert (d.test.x == again.test.x).all()
    assert (d.test.x != other.test.x).any()
    x, y = load_digits(return_X_y=True)
    rows = {tuple(row) for row in np.column_stack([x, y]).astype(int)}
    assert {tuple(row) for p in (d.train, d.test) for row in np.column_stack([p.x, p.y])} == rows
    assert (np.abs(np.bincount(d.test.y) - np.bincount(y) * 359 / 1797) < 1).all()


def test_digits_without_scikit_learn(monkeypatch, one_line):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with one_line(
        ModuleNotFoundError, r"^load: digits ships inside scikit-learn, .*; pip install scikit-learn$"
    ):
        data.load("digits")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"source": "minst"},
            ValueError,
            r"'minst' is no data set, file or folder; choices: digits, mnist, fashion-mn",
        ),
        (
            {"source": "no/such.csv"},
            FileNotFoundError,
            r"'no/such.csv' is no data set, file or folder; choices: digits",
        ),
        (
            {"source": __file__},
            ValueError,
            r".*test_data.py ends in '.py'; wanted .npz, .csv or a folder of IDX files$",
        ),
        (
            {"source": "mnist", "data_dir": "absent"},
            FileNotFoundError,
            r"absent is no folder; wanted train-images-idx3",
        ),
        (
            {"source": "digits", "data_dir": "."},
            ValueError,
            r"data_dir came with 'digits'; wanted mnist or fashion-mni",
        ),
        ({"source": "digits", "label": "y"}, ValueError, r"label came with 'digits'; wanted a .csv"),
        (
            {"source": "digits", "regression": True},
            ValueError,
            r"regression came with 'digits', whose labels are class",
        ),
        (
            {"source": "digits", "test_fraction": 1},
            ValueError,
            r"test_fraction is 1; wanted between 0 and 1$",
        ),
        ({"source": "digits", "seed": -1}, ValueError, r"seed is -1; wanted 0 or more"),
        ({"source": "digits", "seed": 0.5}, TypeError, r"seed is 0.5; wanted a whole number$"),
        ({"source": "digits", "test_fraction": "x"}, TypeError, r"test_fraction is 'x'; wanted a number$"),
    ],
)
def test_wrong_calls(arguments, error, message, one_line):
    with one_line(error, rf"^load: {message}"):
        data.load(**arguments)


def test_names():
    assert data.names() == ["digits", "mnist", "fashion-mnist"]


def test_import_needs_numpy_alone():
    code = "import sys, deltarule.data; print(*{'pooch', 'sklearn', 'requests', 'scipy'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "\n"
    )


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64", "bool"])
def test_samples_take_whole_numbers_of_every_kind_as_labels(dtype):
    samples = Samples(np.zeros((3, 2)), np.array([0, 1, 1], dtype))
    assert samples.y.dtype == np.int64
    assert samples.y.tolist() == [0, 1, 1]


def test_samples_and_standardizer_take_lists():
    samples = Samples([[1, 2], [3, 4]], [0, 1])
    assert (samples.x.dtype, samples.y.dtype) == (np.float64, np.int64)
    assert samples.x.tolist() == [[1, 2], [3, 4]]
    assert Samples([[1.5]], [[2.5]]).y.tolist() == [[2.5]]
    same = Standardizer.fit(np.array([[1.0, 7.0], [3.0, 7.0]]))
    fitted = Standardizer.fit([[1, 7], [3, 7]])
    assert fitted.shift.tolist() == same.shift.tolist()
    assert fitted.apply([[1, 7]]).tolist() == [[-1, 0]]


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        (ValueError, "Samples: x is no array", lambda: Samples([[1, 2], [3]], [0, 1])),
        (TypeError, "Samples: x is str32; wanted uint8", lambda: Samples([["a"]], [0])),
        (
            ValueError,
            "Samples: y holds label 9223372036854775808",
            lambda: Samples([[1]], np.array([2**63], "uint64")),
        ),
        (TypeError, "Standardizer.fit: x is <U1; wanted numbers", lambda: Standardizer.fit([["a"]])),
        (ValueError, r"Standardizer.fit: x has shape \(2,\)", lambda: Standardizer.fit([1, 2])),
        (TypeError, "fraction is 'a'; wanted a number", lambda: Samples(X, Y).split("a", seed=0)),
        (ValueError, "fraction is nan of", lambda: Samples(X, Y).split(float("nan"), seed=0)),
        (TypeError, "seed is 'a'; wanted a whole number", lambda: Samples(X, Y).split(0.5, seed="a")),
        (
            ValueError,
            "Samples: x is a masked array that masks . values",
            lambda: Samples(np.ma.masked_equal(X, X[0, 0]), Y),
        ),
    ],
)
def test_what_is_no_array_is_one_line(error, match, call, one_line):
    with one_line(error, match):
        call()


def test_a_split_without_a_seed_is_another_one_every_time():
    samples = Samples(np.arange(100.0).reshape(-1, 1), np.zeros(100, np.int64))
    parts = {tuple(samples.split(0.5, None)[1].x[:, 0]) for _ in range(3)}
    assert len(parts) == 3
    assert all(len(part) == 50 for part in parts)
