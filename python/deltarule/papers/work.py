"""What a cell may use: settings, device, images, and a training that Ctrl-C cannot undo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import data, nn
from ..data.datasets import IDX_FILES, PUBLISHED

MNIST = PUBLISHED["mnist"]


@dataclass
class Work:
    """One cell's surroundings.

    Attributes
    ----------
    settings : mapping
        Of the experiment.
    device, precision : str
        For the networks.
    data_dir : Path or None
        Folder of MNIST's files.
    folder : Path
        The cell's own while it runs, for checkpoints; deleted when it is over.
    progress : bool or "always"
        For ``fit(progress=...)``.
    quick : bool
        Whether the digits of scikit-learn will do where MNIST is not to be had.
    dataset : Dataset, optional
        What `images` gives; loaded at its first call otherwise.
    """

    settings: Mapping[str, Any]
    device: str
    precision: str
    data_dir: Path | None
    folder: Path
    progress: bool | str = False
    quick: bool = False
    dataset: data.Dataset | None = None
    _names: set[str] = field(default_factory=set, init=False, repr=False)

    def images(self) -> data.Dataset:
        """MNIST, or in a quick run without it the digits of scikit-learn; see `find_images`."""
        if self.dataset is None:
            self.dataset, _ = find_images(self.data_dir, self.quick)
        return self.dataset

    def fit(self, net: nn.Network, x: Any, y: Any, *, name: str = "fit", **settings: Any) -> nn.History:
        """``net.fit(x, y, **settings)`` with a checkpoint in the cell's folder, going on from one that is there.

        Parameters
        ----------
        name : str
            Of the checkpoint: another one for each training of a cell.

        Raises
        ------
        ValueError
            If the cell has trained under this name already; else as `nn.Network.fit`.
        """
        if name in self._names:
            raise ValueError(f"Work.fit: name {name!r} was used before in this cell; wanted one for each fit")
        self._names.add(name)
        path = self.folder / f"{name}.safetensors"
        callbacks: Sequence[nn.Callback] = settings.pop("callbacks", ())
        settings.setdefault("progress", self.progress)
        resume = path if path.is_file() else None
        return net.fit(x, y, callbacks=[*callbacks, nn.Checkpoint(path)], resume=resume, **settings)


def find_images(
    data_dir: Path | None, quick: bool, name: str | None = None, progress: bool | str = False
) -> tuple[data.Dataset, str]:
    """MNIST from ``data_dir``, or from the cache or a mirror; and a note where it is something else.

    A quick run without ``data_dir`` takes the digits of scikit-learn where MNIST is not to be had. A run that goes
    on has begun with the data set ``name``, and takes no other. ``progress`` is that of `data.load`.

    Raises
    ------
    ValueError, OSError
        One line: what is missing or broken, what to download, and where to put it.
    """
    if data_dir is not None:
        try:
            return data.load(MNIST.name, data_dir=data_dir), ""
        except OSError as error:
            text = str(error) if error.filename is None else f"{error.filename}: {error.strerror}"
            raise OSError(f"{text}; {_advice(data_dir)}") from error
        except (ValueError, TypeError) as error:
            raise ValueError(f"{error}; {_advice(data_dir)}") from error
    if name == "digits":
        return data.load(name), "scikit-learn's digits serve instead of MNIST, as this run began with them"
    try:
        return data.load(MNIST.name, progress=progress), ""
    except (OSError, ModuleNotFoundError) as error:  # these say what to download where
        if not quick or name is not None:
            raise error if isinstance(error, OSError) else ValueError(str(error)) from error
        reason = str(error)
    try:
        digits = data.load("digits")
    except ModuleNotFoundError as error:
        raise ValueError(f"{reason}; {error}") from error
    return digits, f"MNIST was not to be had, scikit-learn's digits serve instead ({reason})"


def _advice(data_dir: Path) -> str:
    return f"put {', '.join(IDX_FILES)} of {MNIST.mirrors[0]} into {data_dir}, or leave out --data-dir"
