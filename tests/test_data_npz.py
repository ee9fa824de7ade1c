"""Data sets in a .npz: what they become, and what is refused with which message."""

import zipfile

import numpy as np
import pytest
from deltarule import data
from parts import labelled, whole


@pytest.fixture
def npz(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "set.npz", **arrays)
        return tmp_path / "set.npz"

    return save


X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10) % 2


def test_npz_with_test_part(npz):
    d = data.load(npz(x=X, y=Y, x_test=X[:3], y_test=Y[:3]))
    assert (d.name, d.classes, d.image_shape) == ("set", ("0", "1"), None)
    assert (d.train.x == X).all()
    assert d.train.x.dtype == np.float32
    assert d.train.y.tolist() == Y.tolist()
    assert (d.test.x == X[:3]).all()
    assert d.test.y.tolist() == [0, 1, 0]


def test_npz_is_split_by_fraction_and_seed(npz):
    path = npz(x=X, y=Y)
    d, same = data.load(path, test_fraction=0.4, seed=3), data.load(path, test_fraction=0.4, seed=3)
    assert len(d.test) == 4
    assert np.bincount(d.test.y).tolist() == [2, 2]
    assert (d.test.x == same.test.x).all()
    assert (whole(d)[0] == X).all()


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_npz_feature_dtypes_stay(npz, dtype, order):
    x = X.astype(np.dtype(dtype).newbyteorder(order))
    d = data.load(npz(x=x, y=Y))
    assert d.train.x.dtype == np.dtype(dtype)
    assert d.train.x.dtype.isnative
    assert (whole(d)[0] == X).all()


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        ("bool", "uint8"),
        ("int8", "float32"),
        ("uint16", "float32"),
        ("float16", "float32"),
        ("int32", "float64"),
        ("int64", "float64"),
    ],
)
def test_npz_other_numbers_are_converted_without_loss(npz, dtype, kept):
    x = (X > 9 if dtype == "bool" else X - (0 if dtype == "uint16" else 5)).astype(dtype)
    if dtype in ("int32", "int64"):
        x[0, 0] = 2**24 + 1  # the first whole number that float32 lacks
    d = data.load(npz(x=x, y=Y, x_test=x, y_test=Y))
    assert d.train.x.dtype == np.dtype(kept)
    assert (d.train.x == x).all()


@pytest.mark.parametrize(
    ("shape", "image"),
    [((10, 3, 4), (3, 4)), ((10, 3, 4, 1), (3, 4)), ((10, 2, 2, 3), None), ((10, 12), None)],
)
def test_npz_image_shape(npz, shape, image):
    x = np.arange(120, dtype=np.uint8).reshape(shape)
    d = data.load(npz(x=x, y=Y))
    assert d.image_shape == image
    assert d.train.x.shape == (8, 12)
    assert (whole(d)[0] == x.reshape(10, 12)).all()


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.array([4, 7] * 5), ("4", "7")),
        (np.array([-1.0, 1.0] * 5), ("-1", "1")),
        (np.array([True, False] * 5), ("0", "1")),
        (np.array(["dog", "cat"] * 5), ("cat", "dog")),
        (np.array([b"dog", b"cat"] * 5), ("cat", "dog")),
        (np.array([[2], [0]] * 5, dtype=np.uint8), ("0", "2")),
    ],
    ids=["gaps", "whole floats", "bool", "text", "bytes", "column"],
)
def test_npz_labels_become_classes(npz, y, classes):
    d = data.load(npz(x=X, y=y))
    assert d.classes == classes
    assert d.outputs == 2
    wanted = [v.decode() if isinstance(v, bytes) else str(v) for v in y.ravel().tolist()]
    wanted = [{"True": "1", "False": "0", "-1.0": "-1", "1.0": "1"}.get(v, v) for v in wanted]
    assert [labelled(d)[float(v)] for v in X[:, 0]] == wanted


def test_npz_with_classes(npz, one_line):
    names = np.array(["left", "middle", "right"])
    d = data.load(npz(x=X, y=Y, classes=names))
    assert d.classes == ("left", "middle", "right")
    assert d.outputs == 3
    with one_line(ValueError, r"set.npz: y holds label 3 at row 9, outside the classes left, middle, right$"):
        data.load(npz(x=X, y=np.array([0] * 9 + [3]), classes=names))
    with one_line(ValueError, r"set.npz: classes is int64\[3\]; wanted names, text \[classes\]$"):
        data.load(npz(x=X, y=Y, classes=np.arange(3)))
    with one_line(ValueError, r"set.npz holds classes, but regression is True; wanted one or the other$"):
        data.load(npz(x=X, y=Y, classes=names), regression=True)


def test_npz_multi_label(npz, one_line):
    y = np.eye(10)[:, :2]
    d = data.load(npz(x=X, y=y, classes=np.array(["a", "b"])))
    assert d.classes == ("a", "b")
    assert (whole(d)[1] == y).all()
    assert d.outputs == 2
    with one_line(ValueError, r"set.npz: y has 2 columns for 3 classes; wanted one per class$"):
        data.load(npz(x=X, y=y, classes=np.array(["a", "b", "c"])))


@pytest.mark.parametrize(
    ("y", "regression", "dtype"),
    [
        (np.linspace(0, 1, 10, dtype=np.float32), None, np.float32),
        (np.linspace(0, 1, 10).reshape(10, 1), None, np.float64),
        (np.arange(20).reshape(10, 2), None, np.float64),
        (np.arange(10), True, np.float64),
    ],
    ids=["float32", "column", "two integers", "asked for"],
)
def test_npz_regression(npz, y, regression, dtype):
    d = data.load(npz(x=X, y=y), regression=regression)
    assert d.classes is None
    assert d.train.y.dtype == dtype
    assert (whole(d)[1] == y.reshape(10, -1)).all()
    assert d.outputs == y.reshape(10, -1).shape[1]


def test_npz_never_unpickles(npz, one_line):
    class Mine:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    evil = np.array([Mine()] * 10, dtype=object)
    with one_line(
        ValueError, r"^load: .*set.npz: x is a pickled object array; wanted plain numbers or text$"
    ):
        data.load(npz(x=evil, y=Y))
    with one_line(ValueError, r"set.npz: y is a pickled object array"):
        data.load(npz(x=X, y=evil))
    assert len(data.load(npz(x=X, y=Y, other=evil)).train) == 8  # what is not asked for is not read


NAN = np.where(X == 7, np.nan, X)
BAD_NPZ = {
    "no y": ({"x": X}, ValueError, r"set.npz holds x; wanted x and y$"),
    "other names": ({"a": X, "labels": Y}, ValueError, r"set.npz holds a, labels; wanted x and y$"),
    "half a test": (
        {"x": X, "y": Y, "x_test": X},
        ValueError,
        r"only one of x_test and y_test; wanted both or none$",
    ),
    "lengths": (
        {"x": X, "y": Y[:9]},
        ValueError,
        r"x has 10 samples, y has shape \(9,\); the lengths must be equal$",
    ),
    "test lengths": (
        {"x": X, "y": Y, "x_test": X, "y_test": Y[:9]},
        ValueError,
        r"x_test has 10 samples, y_test has shape \(9,\)",
    ),
    "scalar y": ({"x": X, "y": 3}, ValueError, r"x has 10 samples, y has shape \(\)"),
    "x of 1 dimension": ({"x": Y, "y": Y}, ValueError, r"x has shape \(10,\); wanted \[samples, features\]"),
    "nan": (
        {"x": NAN, "y": Y},
        ValueError,
        r"x holds nan at row 3, column 1 \(1 of 20 values are NaN or infinite\)",
    ),
    "inf": ({"x": X - np.inf, "y": Y}, ValueError, r"x holds -inf at row 0, column 0 \(20 of 20 values"),
    "nan label": ({"x": X, "y": NAN[:, 1]}, ValueError, r"y holds a NaN or infinite label at row 3"),
    "nan test target": (
        {"x": X, "y": X / 3, "x_test": X, "y_test": NAN},
        ValueError,
        r"y holds nan at row 3, column 1",
    ),
    "test label": (
        {"x": X, "y": Y, "x_test": X, "y_test": Y + 1},
        ValueError,
        r"y_test holds label 2 at row 1, outside the classes 0, 1$",
    ),
    "text test label": (
        {"x": X, "y": Y, "x_test": X, "y_test": Y.astype(str)},
        ValueError,
        r"y_test holds <U21 labels; the classes are 0, 1$",
    ),
    "test features": (
        {"x": X, "y": Y, "x_test": X[:, :1], "y_test": Y},
        ValueError,
        r"train has 2 features, test has 1; wanted equal counts$",
    ),
    "text features": (
        {"x": X.astype(str), "y": Y},
        TypeError,
        r"x is <U32; wanted numbers \(uint8, float32, float64\)",
    ),
    "complex labels": ({"x": X, "y": Y * 1j}, ValueError, r"y is complex128; wanted numbers or text$"),
    "images as y": (
        {"x": X, "y": np.zeros((10, 2, 2))},
        ValueError,
        r"y has shape \(10, 2, 2\); wanted \[samples\]",
    ),
    "no samples": ({"x": X[:0], "y": Y[:0]}, ValueError, r"y is empty; wanted one label per sample$"),
}


@pytest.mark.parametrize("kind", BAD_NPZ)
def test_bad_npz(npz, kind, one_line):
    arrays, error, message = BAD_NPZ[kind]
    with one_line(error, message):
        data.load(npz(**arrays))


def test_npz_that_is_none(tmp_path, npz, one_line):
    content = npz(x=X, y=Y).read_bytes()
    path = tmp_path / "set.npz"
    for part in (b"", b"text", content[:-30], content[: len(content) // 2]):
        path.write_bytes(part)
        with one_line(
            ValueError, r"^load: .*set.npz is truncated or no .npz file \(.*\); wanted one of numpy.savez$"
        ):
            data.load(path)
    np.save(tmp_path / "array.npy", X)
    (tmp_path / "array.npy").rename(path)
    with one_line(ValueError, r"set.npz is truncated or no .npz file"):
        data.load(path)


def test_npz_with_damaged_members(tmp_path, one_line):
    path = tmp_path / "set.npz"
    np.save(tmp_path / "y.npy", Y)
    for content, problem in ((b"plain text", "x is no array"), (b"\x93NUMPY\x01\x00", "x is damaged")):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("x.npy", content)
            file.write(tmp_path / "y.npy", "y.npy")
        with one_line(ValueError, rf"^load: .*set.npz: {problem}.*; wanted plain numbers or text$"):
            data.load(path)
