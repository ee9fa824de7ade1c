"""Data sets in one file of the user: ``.npz`` with arrays, ``.csv`` with a label column."""

from __future__ import annotations

import csv
import zlib
from array import array
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from .checks import Array, as_features, check_samples
from .labels import LabelCode, fit_labels, numbered, shorten
from .samples import Dataset, Samples

LABEL_NAMES = ("label", "target", "class", "y")


def load_npz(path: Path, regression: bool | None, test_fraction: float, seed: int) -> Dataset:
    """Arrays x, y, and optionally x_test, y_test, classes (names: y then holds class numbers)."""
    arrays = read_npz(path, ("x", "y", "x_test", "y_test", "classes"))
    given = arrays.keys()
    if ("x_test" in given) != ("y_test" in given):
        raise ValueError(f"load: {path} holds only one of x_test and y_test; wanted both or none")
    if regression and "classes" in given:
        raise ValueError(f"load: {path} holds classes, but regression is True; wanted one or the other")
    code = named_classes(arrays["classes"], arrays["y"], path) if "classes" in given else None
    parts: list[Samples] = []
    image_shape = None
    for suffix in ("", "_test") if "x_test" in given else ("",):
        raw_x, raw_y = arrays["x" + suffix], arrays["y" + suffix]
        x, shape = as_features(raw_x, f"load: {path}: x{suffix}")
        image_shape = image_shape or shape
        if raw_y.ndim == 0 or len(x) != len(raw_y):
            raise ValueError(
                f"load: {path}: x{suffix} has {len(x)} samples, y{suffix} has shape {raw_y.shape}; "
                "the lengths must be equal"
            )
        code = code or fit_labels(raw_y, f"load: {path}: y", regression)
        y = code.encode(raw_y, f"load: {path}: y{suffix}")
        check_samples(x, y, code.classes, f"load: {path}")
        parts.append(Samples(x, y))
    if len(parts) == 1:
        parts = list(parts[0].split(test_fraction, seed))
    return Dataset(path.stem, parts[0], parts[1], code.classes if code else None, image_shape)


def named_classes(names: Array, y: Array, path: Path) -> LabelCode:
    """The code given by ``classes`` of a .npz: names of the class numbers, or of the outputs of y[n, k]."""
    if names.ndim != 1 or names.dtype.kind not in "US" or len(names) == 0:
        raise ValueError(
            f"load: {path}: classes is {names.dtype}{list(names.shape)}; wanted names, text [classes]"
        )
    code = numbered(
        tuple(str(n) for n in (np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names))
    )
    return LabelCode(None, code.classes) if y.ndim == 2 and y.shape[1] > 1 else code


def read_npz(path: Path, names: tuple[str, ...]) -> dict[str, Array]:
    """Those of the named arrays that a .npz holds, x and y for certain.

    Object arrays are refused: they are pickles, and reading one can run any code.
    """
    import zipfile  # here, because it would take 5 ms of every import of the package

    try:
        # Anything that is no zip file would be taken by numpy.load for a .npy or a pickle.
        with zipfile.ZipFile(path):
            pass
        with np.load(path, allow_pickle=False) as file:
            if not {"x", "y"} <= set(file.files):
                raise ValueError(
                    f"load: {path} holds {shorten(sorted(file.files)) or 'nothing'}; wanted x and y"
                )
            return {name: read_member(file, name, path) for name in names if name in file.files}
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(
            f"load: {path} is truncated or no .npz file ({error}); wanted one of numpy.savez"
        ) from error


def read_member(file: Any, name: str, path: Path) -> Array:
    """One array of an open .npz."""
    try:
        array = file[name]
    except ValueError as error:
        problem = "is a pickled object array" if "allow_pickle" in str(error) else f"is damaged ({error})"
        raise ValueError(f"load: {path}: {name} {problem}; wanted plain numbers or text") from error
    if not isinstance(array, np.ndarray):  # numpy hands out the bytes of a member that is no .npy
        raise ValueError(f"load: {path}: {name} is no array; wanted plain numbers or text")
    return array


def load_csv(
    path: Path, label: str | int | None, regression: bool | None, test_fraction: float, seed: int
) -> Dataset:
    """Numeric columns and one label column, with or without a header.

    Separators are comma, semicolon or tab, whichever the first line has most of.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            table = parse_csv(csv.reader(file, delimiter=max(",;\t", key=first.count)), path, label)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"load: {path} is no readable text ({error}); wanted .csv in UTF-8") from error
    x, raw_y, column = table
    name = f"load: {path}: label column {column}"
    code = fit_labels(raw_y, name, regression)
    y = code.encode(raw_y, name)
    check_samples(x, y, code.classes, f"load: {path}")
    train, test = Samples(x, y).split(test_fraction, seed)
    return Dataset(path.stem, train, test, code.classes)


def numbered_rows(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every row of a csv.reader that is not blank."""
    for row in reader:
        if len(row) > 1 or (row and row[0].strip()):
            yield reader.line_num, [cell.strip() for cell in row]


def parse_csv(reader: Any, path: Path, label: str | int | None) -> tuple[Array, Array, str]:
    """All rows of a csv.reader -> x[n,d] float64, raw labels[n], and how messages call the label column."""
    rows = numbered_rows(reader)
    head = list(islice(rows, 2))
    if not head:
        raise ValueError(f"load: {path} is empty; wanted rows of numbers with a label column")
    header = head[0][1] if has_header([row for _, row in head], label) else None
    width = len(head[0][1])
    if width < 2:
        raise ValueError(f"load: {path} has 1 column; wanted at least one feature and the label")
    column = label_column(header, width, path, label)
    lines, values, labels = array("q"), array("d"), []
    for line, row in chain(head if header is None else head[1:], rows):
        if len(row) != width:
            raise ValueError(
                f"load: {path} line {line}: {len(row)} cells; wanted {width}, as in the first line"
            )
        labels.append(row.pop(column))
        if not labels[-1]:
            raise bad_cell(path, line, column, header, "is empty; wanted a label")
        lines.append(line)
        try:
            values.extend(map(float, row))
        except ValueError:
            wrong = next(i for i, cell in enumerate(row) if not is_number(cell))
            problem = f"holds {row[wrong]!r}" if row[wrong] else "is empty"
            raise bad_cell(
                path, line, wrong + (wrong >= column), header, f"{problem}; wanted a number"
            ) from None
    if not labels:
        raise ValueError(f"load: {path} holds a header and no rows; wanted rows of numbers")
    x = np.array(values).reshape(len(labels), width - 1)
    if not np.isfinite(x).all():
        row_index, i = (int(k) for k in np.argwhere(~np.isfinite(x))[0])
        problem = f"holds {x[row_index, i]}; wanted a finite number"
        raise bad_cell(path, lines[row_index], i + (i >= column), header, problem)
    return x, raw_labels(labels), repr(header[column]) if header else str(column)


def is_number(cell: str) -> bool:
    """Whether a cell reads as floating point (NaN and infinity do)."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def has_header(head: list[list[str]], label: str | int | None) -> bool:
    """Whether the first row is a header: names the label, has a name over a number, or has no number."""
    first = head[0]
    # A label that is a number is an index, as in label_column, and may well stand among the data.
    if (isinstance(label, str) and not is_number(label) and label in first) or any(
        cell.lower() in LABEL_NAMES[:3] for cell in first
    ):
        return True
    if len(head) > 1 and any(not is_number(a) and is_number(b) for a, b in zip(first, head[1], strict=False)):
        return True
    return not any(map(is_number, first))


def label_column(header: list[str] | None, width: int, path: Path, label: str | int | None) -> int:
    """Index of the label column.

    Raises
    ------
    ValueError
        If there is no such column; the message lists those there are.
    """
    if label is None:
        lower = [cell.lower() for cell in header or []]
        return next((lower.index(name) for name in LABEL_NAMES if name in lower), width - 1)
    if header is not None and label in header:
        return header.index(str(label))
    # The command line has text only: a number there is an index.
    if isinstance(label, int) or label.lstrip("-").isdecimal():
        index = int(label)
        if -width <= index < width:
            return index % width
        raise ValueError(f"load: {path} has {width} columns; label is {index}, wanted 0 to {width - 1}")
    known = (
        f"columns are {shorten(header)}" if header else f"it has no header; wanted an index, 0 to {width - 1}"
    )
    raise ValueError(f"load: {path} has no column {label!r}; {known}")


def bad_cell(path: Path, line: int, column: int, header: list[str] | None, problem: str) -> ValueError:
    """The error for one cell; line and column are counted from 1, as editors and spreadsheets do."""
    name = f" ({header[column]!r})" if header else ""
    return ValueError(f"load: {path} line {line}, column {column + 1}{name} {problem}")


def raw_labels(labels: list[str]) -> Array:
    """Labels as float64 if every one is a number, else as text."""
    return np.array([float(cell) for cell in labels] if all(map(is_number, labels)) else labels)
