"""The registry of data sets, and `load`: one function from a name, folder or file to a Dataset."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from .._numbers import as_count, as_number
from .._progress import wanted
from .checks import Array, as_features, check_samples
from .download import Published, cache_dir, fetch_file
from .folder import find_pairs, read_pair
from .labels import LabelCode, fit_labels, numbered
from .samples import Dataset, Samples, hold_out
from .tables import load_csv, load_npz

DIGITS = tuple("0123456789")

IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)

PUBLISHED = {
    "mnist": Published(
        name="mnist",
        classes=DIGITS,
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://raw.githubusercontent.com/fgnt/mnist/master/",
        ),
        sha256=dict(
            zip(
                IDX_FILES,
                (
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                ),
                strict=True,
            )
        ),
    ),
    "fashion-mnist": Published(
        name="fashion-mnist",
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        mirrors=(
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        sha256=dict(
            zip(
                IDX_FILES,
                (
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
                strict=True,
            )
        ),
    ),
}


def names() -> list[str]:
    """Names of the data sets that `load` knows."""
    return ["digits", *PUBLISHED]


def load(
    source: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    label: str | int | None = None,
    regression: bool | None = None,
    progress: bool | str = False,
) -> Dataset:
    """Load a data set, whole and checked.

    Parameters
    ----------
    source : str or path
        "digits" (ships inside scikit-learn), "mnist", "fashion-mnist", a folder of IDX files, a ``.npz`` with
        arrays x, y (and x_test, y_test; classes), or a ``.csv`` with a label column.
    data_dir : path, optional
        Folder with the IDX files of mnist or fashion-mnist; without it they are downloaded once and cached.
    test_fraction : float
        Share of the test part, stratified, where the source has no test part of its own.
    seed : int
        Seed of that split. Not the seed of a training: with the default, every run has the same test part.
    label : str or int, optional
        Label column of a ``.csv``: its name, or its index from 0. Default: the column named label, target,
        class or y, else the last.
    regression : bool, optional
        Whether the labels of a file are targets. Default: text and whole numbers are classes, fractions are
        targets.
    progress : bool or "always"
        A line on stderr for every file that is downloaded; True shows it on a terminal only.

    Returns
    -------
    Dataset
        uint8 images stay uint8; labels are int64 class numbers, or targets [n, k] in floating point.

    Raises
    ------
    ValueError, TypeError
        One line that says what came and what was wanted.
    OSError
        If a file is missing, unreadable, or cannot be downloaded.
    ModuleNotFoundError
        If scikit-learn (digits) or pooch (downloads) is not installed.

    Examples
    --------
    >>> digits = load("digits")
    >>> digits.train.x.shape, digits.test.x.shape, digits.image_shape, digits.train.x.dtype.name
    ((1438, 64), (359, 64), (8, 8), 'uint8')
    """
    test_fraction = as_number(test_fraction, "load: test_fraction")
    if not 0 < test_fraction < 1:
        raise ValueError(f"load: test_fraction is {test_fraction:g}; wanted between 0 and 1")
    seed = as_count(seed, "load: seed")
    show = wanted(progress, "load")
    named = isinstance(source, str) and source in names()
    if data_dir is not None and not (named and source in PUBLISHED):
        raise ValueError(f"load: data_dir came with {str(source)!r}; wanted {' or '.join(PUBLISHED)}")
    path = Path(source).expanduser()
    is_csv = not named and path.suffix.lower() == ".csv"
    if label is not None and not is_csv:
        raise ValueError(
            f"load: label came with {str(source)!r}; wanted a .csv, the only source with columns"
        )
    if named and regression is not None:
        raise ValueError(
            f"load: regression came with {source!r}, whose labels are classes; wanted a file or folder"
        )
    if named:
        if source == "digits":
            return load_digits(test_fraction, seed)
        return load_published(str(source), data_dir, show)
    if path.is_dir():
        return load_folder(path, test_fraction, seed, regression)
    if not path.is_file():
        raise (FileNotFoundError if path.suffix or len(path.parts) > 1 else ValueError)(
            f"load: {str(source)!r} is no data set, file or folder; "
            f"choices: {', '.join(names())}, or a folder of IDX files, a .npz, a .csv"
        )
    if is_csv:
        return load_csv(path, label, regression, test_fraction, seed)
    if path.suffix.lower() == ".npz":
        return load_npz(path, regression, test_fraction, seed)
    raise ValueError(f"load: {path} ends in {path.suffix!r}; wanted .npz, .csv or a folder of IDX files")


def load_digits(test_fraction: float, seed: int) -> Dataset:
    """The 1,797 handwritten digits of scikit-learn, uint8 0 to 16; reads no network."""
    try:
        from sklearn.datasets import load_digits as embedded
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "load: digits ships inside scikit-learn, which is not installed; pip install scikit-learn",
            name="sklearn",
        ) from error
    x, y = embedded(return_X_y=True)
    samples = Samples(x.astype(np.uint8), y.astype(np.int64))
    train, test = samples.split(test_fraction, seed)
    return Dataset("digits", train, test, DIGITS, (8, 8))


def load_published(name: str, data_dir: str | os.PathLike[str] | None, show: bool = False) -> Dataset:
    """mnist or fashion-mnist, from ``data_dir`` or from the cache; shows what it downloads."""
    published = PUBLISHED[name]
    if data_dir is not None:
        folder = Path(data_dir).expanduser()
        pairs = find_pairs(folder)
        if "test" not in pairs:
            raise FileNotFoundError(
                f"load: {folder} holds no test files; {name} has {' and '.join(IDX_FILES[2:])}"
            )
    else:
        files = []
        for file in published.sha256:
            if show and not (cache_dir() / name / file).is_file():
                print(f"downloading {file} of {name}", file=sys.stderr)
            files.append(fetch_file(published, file))
        pairs = {"train": (files[0], files[1]), "test": (files[2], files[3])}
    return idx_dataset(name, pairs, numbered(published.classes), 0.0, 0)


def load_folder(folder: Path, test_fraction: float, seed: int, regression: bool | None) -> Dataset:
    """A folder of IDX files; its classes are the labels that its training part has."""
    return idx_dataset(folder.resolve().name, find_pairs(folder), None, test_fraction, seed, regression)


def idx_dataset(
    name: str,
    pairs: dict[str, tuple[Path, Path]],
    code: LabelCode | None,
    test_fraction: float,
    seed: int,
    regression: bool | None = None,
) -> Dataset:
    """Read the pairs, encode the labels (code fitted on the training part unless given), split if need be."""
    parts: dict[str, Samples] = {}
    image_shape = None
    for part, (images, labels) in pairs.items():
        raw_x, raw_y = read_pair(images, labels)
        x, shape = as_features(raw_x, f"load: {images}")
        if part == "test" and x.shape[1] != parts["train"].x.shape[1]:
            raise ValueError(
                f"load: {images} has items of shape {raw_x.shape[1:]}, {pairs['train'][0]} has "
                f"{parts['train'].x.shape[1]} values in each; wanted equal items"
            )
        code = code or fit_labels(raw_y, f"load: {labels}", regression)
        parts[part] = checked(x, code.encode(raw_y, f"load: {labels}"), code, f"load: {images}")
        image_shape = image_shape or shape
    train, test = parts["train"], parts.get("test")
    if test is None:
        train, test = hold_out(train, test_fraction, seed, f"load: {pairs['train'][0]}")
    assert code is not None  # pairs always has "train"
    return Dataset(name, train, test, code.classes, image_shape)


def checked(x: Array, y: Array, code: LabelCode, name: str) -> Samples:
    """Samples whose values have been read and found good."""
    check_samples(x, y, code.classes, name)
    return Samples(x, y)
