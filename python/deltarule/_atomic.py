"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

PathLike = str | os.PathLike[str]


def replace(path: PathLike, content: bytes) -> None:
    """Write to a temporary name in the same folder, flush to the disk, rename.

    A file that is there keeps its mode, a link stays one: the file it leads to is replaced.

    Raises
    ------
    OSError
        Naming ``path``; what was there is still there, and nothing is left beside it.
    """
    target = Path(os.path.realpath(path))
    temporary = _temporary(target)
    try:
        with open(temporary, "xb") as file:
            _keep_mode(target, temporary)  # before the content, which may be private
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


def _keep_mode(target: Path, temporary: Path) -> None:
    try:
        mode = stat.S_IMODE(target.stat().st_mode)
    except FileNotFoundError:
        return
    if mode != stat.S_IMODE(temporary.stat().st_mode):  # file systems without modes refuse every change
        temporary.chmod(mode)


def replace_json(path: PathLike, content: Any) -> None:
    """`replace` with `to_json` of ``content`` and a newline."""
    replace(path, (to_json(content) + "\n").encode())


def to_json(content: Any) -> str:
    """JSON of ``content``: NaN and inf, which JSON has no name for, as null, NumPy's numbers as Python's.

    >>> to_json((1, float("nan")))
    '[\\n  1,\\n  null\\n]'
    """
    return json.dumps(_finite(content), indent=2)


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


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
