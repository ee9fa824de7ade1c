"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

PathLike = str | os.PathLike[str]


def replace(path: PathLike, content: bytes) -> None:
    """Write to a temporary name in the same folder, flush to the disk, rename.

    Raises
    ------
    OSError
        Naming ``path``; what was there is still there, and nothing is left beside it.
    """
    target = Path(os.path.realpath(path))
    temporary = _temporary(target)
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_writable(path: PathLike) -> None:
    """Raise OSError if `replace` could not write ``path``; leaves nothing behind."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder; wanted the name of a file")
    temporary = _temporary(target)
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    temporary.unlink()


def _temporary(target: Path) -> Path:
    # Random, not the process: two threads may write the same name.
    return target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
