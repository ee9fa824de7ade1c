"""Data in one file of the user: ``.npz`` with arrays, ``.csv`` with a label column or, for predictions, without."""

from __future__ import annotations

import csv
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from .checks import Array, as_features, check_samples
from .labels import LabelCode, fit_labels, numbered, shorten
from .samples import Dataset, Samples, hold_out

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
        parts = list(hold_out(parts[0], test_fraction, seed, f"load: {path}"))
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
    """Those of the named arrays that a .npz holds, x and (where it is among the names) y for certain.

    Object arrays are refused: they are pickles, and reading one can run any code.
    """
    needed = [name for name in ("x", "y") if name in names]
    import zipfile  # here, because it would take 5 ms of every import of the package

    try:
        # Anything that is no zip file would be taken by numpy.load for a .npy or a pickle.
        with zipfile.ZipFile(path):
            pass
        with np.load(path, allow_pickle=False) as file:
            if not set(needed) <= set(file.files):
                raise ValueError(
                    f"load: {path} holds {shorten(sorted(file.files)) or 'nothing'}; wanted {' and '.join(needed)}"
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
    """Numeric columns and one label column, with or without a header."""
    with open_csv(path) as reader:
        x, raw_y, header, column = parse_csv(reader, path, label)
    name = f"load: {path}: label column {repr(header[column]) if header else column}"
    code = fit_labels(raw_y, name, regression)
    y = code.encode(raw_y, name)
    check_samples(x, y, code.classes, f"load: {path}")
    train, test = hold_out(Samples(x, y), test_fraction, seed, f"load: {path}")
    names = tuple(cell for i, cell in enumerate(header or ()) if i != column)
    known = names if header and len(set(names)) == len(names) else None
    return Dataset(path.stem, train, test, code.classes, feature_names=known)


def read_csv_features(
    path: Path, inputs: int, names: Sequence[str] | None = None, label: str | int | None = None
) -> Array:
    """x[n,inputs] of a .csv, whose label column may be there or not.

    The columns are those of the ``names`` where these are given and the table has a header: in any order, and others
    may be beside them. Else a table of ``inputs`` columns holds features alone, and of one more the label as well,
    which is found as `load_csv` finds it.
    """
    with open_csv(path) as reader:
        header, width, rows = begin_csv(reader, path, label, names)
        if header is not None and names is not None:
            missing = [name for name in names if name not in header]
            if missing:
                raise ValueError(
                    f"load: {path} has no column {missing[0]!r}, which the net was trained on; "
                    f"columns are {shorten(header)}"
                )
            twice = [name for name in names if header.count(name) > 1]
            if twice:
                raise ValueError(f"load: {path} has two columns {twice[0]!r}; wanted one")
            if label is not None:
                label_column(header, width, path, label)
            columns = [header.index(name) for name in names]
        elif label is None and width == inputs:
            columns = list(range(inputs))
        elif width == inputs + 1:
            column = label_column(header, width, path, label)
            columns = [i for i in range(width) if i != column]
        else:
            raise ValueError(
                f"load: {path} has {width} columns; wanted {inputs} features, with the label {inputs + 1} columns"
            )
        return read_rows(rows, path, header, width, columns, None)[0]


@contextmanager
def open_csv(path: Path) -> Iterator[Any]:
    """The csv.reader of a file whose separator is comma, semicolon or tab, whichever its first line has most of."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            yield csv.reader(file, delimiter=max(",;\t", key=first.count))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"load: {path} is no readable text ({error}); wanted .csv in UTF-8") from error


def numbered_rows(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every row of a csv.reader that is not blank."""
    for row in reader:
        if len(row) > 1 or (row and row[0].strip()):
            yield reader.line_num, [cell.strip() for cell in row]


def parse_csv(reader: Any, path: Path, label: str | int | None) -> tuple[Array, Array, list[str] | None, int]:
    """All rows of a csv.reader -> x[n,d] float64, raw labels[n], the header if there is one, the label's column."""
    header, width, rows = begin_csv(reader, path, label)
    if width < 2:
        raise ValueError(f"load: {path} has 1 column; wanted at least one feature and the label")
    column = label_column(header, width, path, label)
    x, labels = read_rows(rows, path, header, width, [i for i in range(width) if i != column], column)
    return x, raw_labels(labels), header, column


def begin_csv(
    reader: Any, path: Path, label: str | int | None, names: Sequence[str] | None = None
) -> tuple[list[str] | None, int, Iterable[tuple[int, list[str]]]]:
    """Header if there is one (as there is where the first row has all ``names``), columns, and the rows after it."""
    rows = numbered_rows(reader)
    head = list(islice(rows, 2))
    if not head:
        raise ValueError(f"load: {path} is empty; wanted rows of numbers with a label column")
    first = head[0][1]
    named = names is not None and set(names) <= set(first)
    if named or has_header([row for _, row in head], label):
        return first, len(first), chain(head[1:], rows)
    return None, len(first), chain(head, rows)


def read_rows(
    rows: Iterable[tuple[int, list[str]]],
    path: Path,
    header: list[str] | None,
    width: int,
    columns: Sequence[int],
    label: int | None,
) -> tuple[Array, list[str]]:
    """The numbers of the ``columns`` -> x[n,len(columns)] float64, and the cells of the column ``label``."""
    lines, values, labels = array("q"), array("d"), []
    for line, row in rows:
        if len(row) != width:
            raise ValueError(
                f"load: {path} line {line}: {len(row)} cells; wanted {width}, as in the first line"
            )
        if label is not None:
            labels.append(row[label])
            if not labels[-1]:
                raise bad_cell(path, line, label, header, "is empty; wanted a label")
        lines.append(line)
        try:
            values.extend([float(row[i]) for i in columns])
        except ValueError:
            wrong = next(i for i in columns if not is_number(row[i]))
            problem = f"holds {row[wrong]!r}" if row[wrong] else "is empty"
            raise bad_cell(path, line, wrong, header, f"{problem}; wanted a number") from None
    if not lines:
        raise ValueError(f"load: {path} holds a header and no rows; wanted rows of numbers")
    x = np.array(values).reshape(len(lines), len(columns))
    if not np.isfinite(x).all():
        row_index, i = (int(k) for k in np.argwhere(~np.isfinite(x))[0])
        problem = f"holds {x[row_index, i]}; wanted a finite number"
        raise bad_cell(path, lines[row_index], columns[i], header, problem)
    return x, labels


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
