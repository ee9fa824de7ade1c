"""IDX files and folders of them: round trips, and every kind of damaged file with its message."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from deltarule import data

DTYPES = ["uint8", "int8", "int16", "int32", "float32", "float64"]
FILES = {
    "train-images-idx3-ubyte.gz": (6, 4, 3),
    "train-labels-idx1-ubyte.gz": (6,),
    "t10k-images-idx3-ubyte.gz": (4, 4, 3),
    "t10k-labels-idx1-ubyte.gz": (4,),
}


@pytest.fixture
def folder(tmp_path):
    """A small MNIST: labels are 0, 1 in turn, each image holds its own number."""
    for name, shape in FILES.items():
        rows = np.arange(shape[0])
        array = rows % 2 if len(shape) == 1 else np.broadcast_to(rows[:, None, None], shape)
        data.write_idx(tmp_path / name, array.astype(np.uint8))
    return tmp_path


def idx_bytes(array, magic=None, shape=None):
    """IDX content of a uint8 array, with another magic or shape in the header if given."""
    shape = array.shape if shape is None else shape
    magic = bytes([0, 0, 8, array.ndim]) if magic is None else magic
    return magic + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0,), (1,), (5,), (3, 2), (2, 3, 4), (0, 28, 28), (2, 1, 3, 1)])
@pytest.mark.parametrize("name", ["a-idx", "a-idx.gz"])
def test_round_trip(tmp_path, dtype, shape, name):
    array = np.random.default_rng(1).uniform(-99, 99, shape).astype(dtype)
    data.write_idx(tmp_path / name, array)
    back = data.read_idx(tmp_path / name)
    assert back.dtype == array.dtype
    assert back.dtype.isnative
    assert back.shape == shape
    assert back.tobytes() == array.tobytes()
    assert back.flags.writeable
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_bytes_of_the_format(tmp_path):
    data.write_idx(tmp_path / "a", np.array([[1, -2]], dtype=np.int16))
    assert (tmp_path / "a").read_bytes() == bytes.fromhex("00000b02 00000001 00000002 0001 fffe")


def test_strided_and_big_endian_arrays(tmp_path):
    array = np.arange(24, dtype=">i4").reshape(4, 6)[::2, ::-3]
    data.write_idx(tmp_path / "a", array)
    back = data.read_idx(tmp_path / "a")
    assert back.tolist() == array.tolist()
    assert back.dtype == np.int32


def test_gzip_is_told_by_content_and_has_no_time(tmp_path):
    array = np.arange(9, dtype=np.uint8)
    data.write_idx(tmp_path / "a.gz", array)
    data.write_idx(tmp_path / "b.gz", array)
    content = (tmp_path / "a.gz").read_bytes()
    assert content == (tmp_path / "b.gz").read_bytes()
    assert content[:2] == b"\x1f\x8b"
    assert content[4:8] == bytes(4)
    (tmp_path / "a.gz").rename(tmp_path / "no-suffix")
    assert data.read_idx(tmp_path / "no-suffix").tolist() == array.tolist()


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    data.write_idx(path, np.zeros(3, dtype=np.uint8))
    old = path.read_bytes()

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        data.write_idx(path, np.ones(99, dtype=np.uint8))
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_write_refuses():
    with pytest.raises(TypeError, match=r"^write_idx: array is int64; IDX holds uint8, int8, .*float64$"):
        data.write_idx("never-written", np.zeros(3, dtype=np.int64))
    with pytest.raises(ValueError, match=r"^write_idx: array has shape \(\); wanted 1 dimension or more"):
        data.write_idx("never-written", np.uint8(3))
    assert not Path("never-written").exists()


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
DAMAGED = {
    "empty": (b"", r"0 bytes; wanted an IDX header of at least 8"),
    "short header": (b"\0\0\x08", r"3 bytes; wanted an IDX header"),
    "ends in header": (b"\0\0\x08\x03\0\0\0\x02", r"file ends inside the header; wanted 3 sizes"),
    "wrong magic": (
        b"PK\x03\x04 more",
        r"magic is 504b0304; wanted IDX, which begins with one of 000008, .*0e",
    ),
    "wrong dtype": (idx_bytes(IMAGES, b"\0\0\x0a\x03"), r"magic is 00000a03; wanted IDX"),
    "no dimension": (b"\0\0\x08\0\0", r"0 dimensions; wanted 1 to 64"),
    "99 dimensions": (b"\0\0\x08\x63" + bytes(400), r"99 dimensions; wanted 1 to 64"),
    "shorter": (
        idx_bytes(IMAGES)[:-1],
        r"header says shape \(2, 4, 3\), 24 bytes of items; the file holds 23 bytes",
    ),
    "longer": (
        idx_bytes(IMAGES) + b"\0",
        r"header says shape \(2, 4, 3\), 24 bytes of items; the file holds more",
    ),
    "fewer sizes": (idx_bytes(IMAGES, shape=(3, 4, 3)), r"header says shape \(3, 4, 3\), 36 bytes"),
    "terabytes": (idx_bytes(IMAGES, shape=(2**32 - 1,) * 3), r"header says shape .* the file holds 24 bytes"),
}


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "gzip"])
@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_file(tmp_path, kind, compressed, one_line):
    content, message = DAMAGED[kind]
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if compressed else content)
    with one_line(ValueError, rf"^read_idx: {path}: {message}"):
        data.read_idx(path)


@pytest.mark.parametrize("cut", [2, 9, 20, -9, -1])
def test_truncated_gzip(tmp_path, cut, one_line):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx_bytes(IMAGES))[:cut])
    with one_line(ValueError, rf"^read_idx: {path}: gzip data is truncated or damaged \("):
        data.read_idx(path)


@pytest.mark.parametrize("place", [-30, -20, -6])
def test_damaged_gzip(tmp_path, place, one_line):
    content = bytearray(gzip.compress(idx_bytes(IMAGES)))
    content[place] ^= 0xFF
    (tmp_path / "a.gz").write_bytes(content)
    with one_line(ValueError, r"^read_idx: .*a.gz: gzip data is truncated or damaged \("):
        data.read_idx(tmp_path / "a.gz")


def test_missing_file(tmp_path, one_line):
    with one_line(FileNotFoundError, "No such file or directory: .*absent"):
        data.read_idx(tmp_path / "absent")


# Folders


def test_folder(folder):
    d = data.load(folder)
    assert (d.name, d.classes, d.image_shape) == (folder.name, ("0", "1"), (4, 3))
    assert d.train.x.shape == (6, 12)
    assert d.train.x.dtype == np.uint8
    assert d.train.x[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert d.test.x[:, 11].tolist() == [0, 1, 2, 3]
    assert d.train.y.tolist() == [0, 1, 0, 1, 0, 1]
    assert d.train.y.dtype == np.int64
    assert (d.inputs, d.outputs) == (12, 2)


def test_folder_without_a_test_pair_is_split(folder):
    for name in list(FILES)[2:]:
        (folder / name).unlink()
    d = data.load(folder, test_fraction=1 / 3)
    assert sorted(np.concatenate([d.train.x[:, 0], d.test.x[:, 0]])) == [0, 1, 2, 3, 4, 5]
    assert np.bincount(d.test.y).tolist() == [1, 1]


def test_folder_with_other_names_and_a_raw_twin(tmp_path, folder):
    other = tmp_path / "other"
    other.mkdir()
    for name in FILES:
        new = name.replace("t10k", "Test").replace("train-", "letters_")
        (folder / name).rename(other / new)
    # The raw twin is taken: change its first image to see it.
    changed = data.read_idx(other / "letters_images-idx3-ubyte.gz")
    changed[0] = 77
    data.write_idx(other / "letters_images-idx3-ubyte", changed)
    d = data.load(other)
    assert len(d.train) == 6
    assert len(d.test) == 4
    assert d.train.x[0, 0] == 77


def test_classes_are_the_labels_of_the_training_part(folder, one_line):
    data.write_idx(folder / "train-labels-idx1-ubyte.gz", np.array([3, 9, 3, 9, 3, 9], dtype=np.uint8))
    with one_line(ValueError, r"t10k-labels.* holds label 0 at row 0, outside the classes 3, 9$"):
        data.load(folder)
    data.write_idx(folder / "t10k-labels-idx1-ubyte.gz", np.array([9, 9, 3, 3], dtype=np.uint8))
    d = data.load(folder)
    assert d.classes == ("3", "9")
    assert d.test.y.tolist() == [1, 1, 0, 0]


def rewrite(name, array):
    return lambda folder: data.write_idx(folder / name, array)


def remove(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


BYTES = np.zeros((6, 4, 3), dtype=np.uint8)
BAD_FOLDERS = {
    "empty": (
        remove(*FILES),
        FileNotFoundError,
        r"holds no IDX file; wanted train-images-idx3-ubyte\[\.gz\] and",
    ),
    "no labels": (
        remove("train-labels-idx1-ubyte.gz"),
        FileNotFoundError,
        r"holds train-images-idx3-ubyte.gz, but no labels for train$",
    ),
    "no images": (
        remove("t10k-images-idx3-ubyte.gz"),
        FileNotFoundError,
        r"holds t10k-labels-idx1-ubyte.gz, but no images for test$",
    ),
    "test only": (
        remove("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        FileNotFoundError,
        r"holds only the test files t10k-images-idx3-ubyte.gz, t10k-labels",
    ),
    "two candidates": (
        rewrite("more-images-idx3-ubyte", BYTES),
        ValueError,
        r"several files for train images: more-images-idx3-ubyte, train-images-idx3-ubyte.gz; wanted one",
    ),
    "lengths": (
        rewrite("train-labels-idx1-ubyte.gz", np.zeros(5, dtype=np.uint8)),
        ValueError,
        r"train-images.* has 6 images, .*train-labels.* has 5 labels; the counts must be equal",
    ),
    "images of 1 dimension": (
        rewrite("train-images-idx3-ubyte.gz", np.zeros(6, dtype=np.uint8)),
        ValueError,
        r"train-images.* has 1 dimension; wanted 2 or more",
    ),
    "labels of 3 dimensions": (
        rewrite("train-labels-idx1-ubyte.gz", BYTES),
        ValueError,
        r"train-labels.* has 3 dimensions; wanted 1",
    ),
    "nan": (
        rewrite("train-images-idx3-ubyte.gz", np.full((6, 4, 3), np.nan, dtype=np.float32)),
        ValueError,
        r"train-images.*: x holds nan at row 0, column 0 \(72 of 72 values are NaN or infinite\)",
    ),
    "other test images": (
        rewrite("t10k-images-idx3-ubyte.gz", np.zeros((4, 5, 3), dtype=np.uint8)),
        ValueError,
        r"t10k-images.* has items of shape \(5, 3\), .*train-images.* has 12 values in each; wanted equal",
    ),
    "no samples": (
        lambda folder: [
            data.write_idx(folder / n, np.zeros((0, *s[1:]), np.uint8)) for n, s in FILES.items()
        ],
        ValueError,
        r"train-labels.* is empty; wanted one label per sample",
    ),
}


@pytest.mark.parametrize("kind", BAD_FOLDERS)
def test_bad_folder(folder, kind, one_line):
    spoil, error, message = BAD_FOLDERS[kind]
    spoil(folder)
    with one_line(error, rf"^load: .*{message}"):
        data.load(folder)


# The real thing


def test_mnist(mnist):
    d = data.load("mnist", data_dir=mnist)
    assert (d.name, d.classes, d.image_shape) == ("mnist", tuple("0123456789"), (28, 28))
    assert d.train.x.shape == (60000, 784)
    assert d.test.x.shape == (10000, 784)
    assert d.train.x.dtype == np.uint8
    assert d.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    # Published counts of the digits 0 to 9.
    assert np.bincount(d.train.y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(d.test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_mnist_is_the_same_as_a_folder_and_after_rewriting(mnist, tmp_path):
    name = "t10k-images-idx3-ubyte"
    images = data.read_idx(mnist / f"{name}.gz")
    data.write_idx(tmp_path / name, images)
    assert (tmp_path / name).read_bytes() == gzip.decompress((mnist / f"{name}.gz").read_bytes())
    d = data.load(mnist)
    assert d.classes == tuple("0123456789")
    assert (d.test.x == images.reshape(10000, 784)).all()


def test_mnist_labels_outside_the_classes(folder, one_line):
    data.write_idx(folder / "t10k-labels-idx1-ubyte.gz", np.array([0, 1, 10, 1], dtype=np.uint8))
    with one_line(ValueError, r"t10k-labels.* holds label 10 at row 2, outside the classes 0, 1, 2, .*, 9$"):
        data.load("mnist", data_dir=folder)


def test_mnist_folder_without_test_files(folder, one_line):
    remove(*list(FILES)[2:])(folder)
    with one_line(
        FileNotFoundError, r"holds no test files; mnist has t10k-images-idx3-ubyte.gz and t10k-labels"
    ):
        data.load("mnist", data_dir=folder)
