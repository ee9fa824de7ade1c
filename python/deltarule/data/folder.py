"""A folder of IDX files: which file is which part, and reading a pair of images and labels."""

from __future__ import annotations

from pathlib import Path

from .checks import Array
from .idx import read_idx

WANTED = (
    "wanted train-images-idx3-ubyte[.gz] and train-labels-idx1-ubyte[.gz], "
    "or any pair named *images* and *labels*"
)


def find_file(folder: Path, kind: str, part: str) -> Path | None:
    """The file of ``kind`` ("images" or "labels") of ``part`` ("train" or "test"), None if there is none.

    Test files have t10k or test in their name, training files do not. Of a file and its .gz, the plain one is
    taken.

    Raises
    ------
    ValueError
        If several files fit.
    """
    found = {}
    for path in sorted(folder.iterdir(), reverse=True):  # reverse: the plain name comes last and stays
        name = path.name.lower()
        is_test = "t10k" in name or "test" in name
        if path.is_file() and kind in name and is_test == (part == "test") and not name.startswith("."):
            found[name.removesuffix(".gz")] = path
    if len(found) > 1:
        names = ", ".join(sorted(p.name for p in found.values()))
        raise ValueError(f"load: {folder} holds several files for {part} {kind}: {names}; wanted one")
    return next(iter(found.values()), None)


def find_pairs(folder: Path) -> dict[str, tuple[Path, Path]]:
    """The pairs (images, labels) of a folder: "train" always, "test" where present.

    Raises
    ------
    FileNotFoundError
        If the folder, the training pair or the other half of a pair is missing.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"load: {folder} is no folder; {WANTED} in it")
    pairs = {}
    for part in ("train", "test"):
        images, labels = find_file(folder, "images", part), find_file(folder, "labels", part)
        if images and labels:
            pairs[part] = (images, labels)
        elif images or labels:
            there, missing = (images, "labels") if images else (labels, "images")
            raise FileNotFoundError(
                f"load: {folder} holds {there.name if there else ''}, but no {missing} for {part}"
            )
    if "train" not in pairs:
        came = (
            "no IDX file" if not pairs else f"only the test files {', '.join(p.name for p in pairs['test'])}"
        )
        raise FileNotFoundError(f"load: folder {folder} holds {came}; {WANTED}")
    return pairs


def read_pair(images: Path, labels: Path) -> tuple[Array, Array]:
    """Read images [n, h, w] or [n, d] and labels [n] and check that they belong together."""
    x, y = read_idx(images), read_idx(labels)
    if x.ndim < 2:
        raise ValueError(
            f"load: {images} has {x.ndim} dimension; wanted 2 or more, such as [samples, height, width]"
        )
    if y.ndim != 1:
        raise ValueError(f"load: {labels} has {y.ndim} dimensions; wanted 1, [samples]")
    if len(x) != len(y):
        raise ValueError(
            f"load: {images} has {len(x)} images, {labels} has {len(y)} labels; the counts must be equal"
        )
    return x, y
