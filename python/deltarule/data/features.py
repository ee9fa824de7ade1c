"""Features alone from a file, for a net to predict: the kinds of files that `load` reads, and .npy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .checks import Array
from .idx import read_idx
from .tables import read_csv_features, read_npz


def read_features(
    path: str | os.PathLike[str],
    inputs: int,
    names: Sequence[str] | None = None,
    label: str | int | None = None,
) -> Array:
    """The array of features in a file, of whatever shape; a .csv gives [n,inputs].

    Parameters
    ----------
    path : path
        ``.csv`` (with or without its label column), ``.npz`` (its x), ``.npy``, else IDX.
    inputs : int
        Features of a sample.
    names : sequence of str, optional
        The columns of a ``.csv`` with a header that are the features.
    label : str or int, optional
        Label column of a ``.csv``, as for `load`.

    Raises
    ------
    ValueError, OSError
        If the file cannot be read as what its name says, a ``.csv`` does not have the columns, or another file comes
        with a label.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return read_csv_features(path, inputs, names, label)
    if label is not None:
        raise ValueError(f"{path}: label came with it; wanted a .csv, the only file with columns")
    if suffix == ".npz":
        return read_npz(path, ("x",))["x"]
    if suffix == ".npy":
        try:
            array: Array = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path}: not a whole .npy file of numbers") from error
        return array
    return read_idx(path)
