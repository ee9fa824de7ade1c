"""From raw labels (text, integers, floating point) to class numbers and names, or to regression targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .checks import Array

# Below this many different integers a column is taken for classes, however few its rows.
FEW_CLASSES = 20


def shorten(names: list[str]) -> str:
    """The names in one line, the middle left out if there are many."""
    return ", ".join(names if len(names) <= 12 else [*names[:8], "...", *names[-2:]])


@dataclass(frozen=True, eq=False)
class LabelCode:
    """How labels are coded: sorted distinct values and their names, or targets if ``values`` is None."""

    values: Array | None
    classes: tuple[str, ...] | None

    def encode(self, raw: Array, name: str) -> Array:
        """raw[n] -> int64 class numbers [n], or targets [n, k] in floating point.

        Raises ValueError naming the first label that is none of the classes.
        """
        if self.values is None:
            if raw.dtype.kind not in "iufb":
                raise ValueError(f"{name} holds {raw.dtype} labels; wanted numbers, as regression targets")
            targets = raw.astype(np.float32 if raw.dtype == np.float32 else np.float64)
            return targets.reshape(len(raw), -1)
        raw = as_column(raw)
        if raw.ndim != 1:
            raise ValueError(f"{name} has shape {raw.shape}; wanted one label per sample")
        if raw.dtype.kind not in "iufbU" or (raw.dtype.kind == "U") != (self.values.dtype.kind == "U"):
            raise ValueError(
                f"{name} holds {raw.dtype} labels; the classes are {shorten(list(self.classes or ()))}"
            )
        place = np.searchsorted(self.values, raw).clip(max=len(self.values) - 1)
        wrong = self.values[place] != raw
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"{name} holds label {raw[row]} at row {row}, "
                f"outside the classes {shorten(list(self.classes or ()))}"
            )
        return place.astype(np.int64)


def as_column(raw: Array) -> Array:
    """Labels [n, 1] -> [n]; bytes -> text."""
    if raw.ndim == 2 and raw.shape[1] == 1:
        raw = raw[:, 0]
    return np.char.decode(raw, "utf-8") if raw.dtype.kind == "S" else raw


def numbered(classes: tuple[str, ...]) -> LabelCode:
    """The code of labels that already are class numbers 0 to len(classes) - 1."""
    return LabelCode(np.arange(len(classes)), classes)


def fit_labels(raw: Array, name: str, regression: bool | None = None) -> LabelCode:
    """Decide from training labels raw[n] or [n, k] what they are.

    Text is classes. Numbers are classes if all of them are whole, else targets (scikit-learn's rule);
    ``regression`` True or False decides instead. Several columns are targets. Classes are the distinct
    values, sorted.

    Raises
    ------
    ValueError
        If there are none, a number is not finite, or whole numbers are so many that classes are unlikely.
    """
    raw = as_column(raw)
    if raw.dtype.kind not in "iufbU":
        raise ValueError(f"{name} is {raw.dtype}; wanted numbers or text")
    if raw.size == 0:
        raise ValueError(f"{name} is empty; wanted one label per sample")
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        row = int(np.argwhere(~np.isfinite(raw))[0][0])
        raise ValueError(f"{name} holds a NaN or infinite label at row {row}; wanted finite numbers")
    whole = raw.dtype.kind != "f" or bool((raw == np.trunc(raw)).all())
    if raw.ndim > 2:
        raise ValueError(f"{name} has shape {raw.shape}; wanted [samples] or [samples, outputs]")
    if regression is False and (raw.ndim == 2 or not whole):
        raise ValueError(
            f"{name} holds {'several columns' if raw.ndim == 2 else 'fractions'}; wanted class labels"
        )
    if regression or raw.ndim == 2 or not whole:
        if raw.dtype.kind == "U":
            raise ValueError(
                f"{name} holds text, such as {str(raw.flat[0])!r}; wanted numbers, as regression targets"
            )
        return LabelCode(None, None)
    values = np.unique(raw)
    if regression is None and raw.dtype.kind != "U" and len(values) > max(FEW_CLASSES, len(raw) // 2):
        raise ValueError(
            f"{name} holds {len(values)} different whole numbers in {len(raw)} samples; "
            "wanted regression=True (targets) or regression=False (classes)"
        )
    names = values if raw.dtype.kind == "U" else (int(v) for v in values)
    return LabelCode(values, tuple(str(v) for v in names))
