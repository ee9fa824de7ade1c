"""Files of models and checkpoints: safetensors with a JSON header of ours, written whole or not at all.

Layout   8 bytes: length of the JSON that follows (little endian); JSON: name -> dtype, shape, data_offsets;
         also ``__metadata__``: ours are ``format``, ``version`` and ``header`` (JSON again). Then the data.
Refs     https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._atomic import PathLike, replace

VERSION = 1
MODEL = "deltarule model"
CHECKPOINT = "deltarule checkpoint"
COMMITTEE = "deltarule committee"
PRETRAINING = "deltarule pretraining"
LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000  # the format's own limit

Tensors = dict[str, npt.NDArray[Any]]


def write(path: PathLike, kind: str, tensors: Mapping[str, npt.NDArray[Any]], header: dict[str, Any]) -> None:
    """Write tensors and header to ``path``; where that fails, what was there is still there.

    Raises
    ------
    OSError
        Disk full, folder missing or not writable.
    """
    # Only bytes come from the library: its own file writing turns a full disk into an error of its own kind.
    import safetensors.numpy

    metadata = {"format": kind, "version": str(VERSION), "header": json.dumps(header)}
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    replace(path, _ordered(safetensors.numpy.save(contiguous, metadata)))


def _ordered(content: bytes) -> bytes:
    """The same file with sorted metadata, which the library writes in any order: equal nets, equal bytes."""
    start = LENGTH_BYTES
    end = start + int.from_bytes(content[:start], "little")
    header = json.loads(content[start:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data stay aligned
    return len(text).to_bytes(start, "little") + text + content[end:]


def read(path: PathLike, kind: str) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and header of a file that `write` wrote.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is truncated, not a safetensors file, not of this ``kind`` or of a newer version.
    """
    import safetensors
    import safetensors.numpy

    content = Path(path).read_bytes()
    metadata = _metadata(content, path)
    found = metadata.get("format")
    if found != kind:
        what = (
            f"a {found}"
            if found in (MODEL, CHECKPOINT, COMMITTEE, PRETRAINING)
            else "a safetensors file, but not of deltarule"
        )
        raise ValueError(f"{path} is {what}; wanted a {kind}")
    version = metadata.get("version", "")
    if not version.isdecimal():
        raise ValueError(f"{path}: version is {version!r}; wanted a number")
    if int(version) > VERSION:
        raise ValueError(f"{path} has format version {version}; this deltarule reads up to {VERSION}")
    try:
        header = json.loads(metadata["header"])
        tensors = safetensors.numpy.load(content)
    except (KeyError, TypeError, ValueError, RecursionError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} is damaged: {' '.join(str(error).split())}") from error
    if not isinstance(header, dict):
        raise ValueError(f"{path} is damaged: its header is not a JSON object")
    return tensors, header


def _metadata(content: bytes, path: PathLike) -> dict[str, str]:
    """The ``__metadata__`` of a safetensors file; ValueError if this is none, or not all of one."""
    start = LENGTH_BYTES
    length = int.from_bytes(content[:start], "little")
    if len(content) <= start or content[start : start + 1] != b"{" or length > MAX_HEADER_BYTES:
        raise ValueError(f"{path} is not a safetensors file ({len(content)} bytes)")
    if len(content) < start + length:
        raise ValueError(f"{path} is truncated: {len(content)} bytes, its header alone has {start + length}")
    try:
        header = json.loads(content[start : start + length])
        metadata = dict(header.pop("__metadata__", {}))
        data = max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ValueError(f"{path} is not a safetensors file: its header is damaged") from error
    if not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError(f"{path} is damaged: its metadata are not texts")
    if len(content) < start + length + data:
        raise ValueError(f"{path} is truncated: {len(content)} bytes of {start + length + data}")
    return metadata


def take(tensors: Tensors, name: str, like: Any, path: PathLike) -> npt.NDArray[Any]:
    """``tensors[name]``, which must have the shape and dtype of ``like``."""
    if name not in tensors:
        raise ValueError(f"{path} is damaged: it lacks the tensor {name!r}")
    tensor = tensors[name]
    if tensor.shape != tuple(like.shape) or tensor.dtype != np.dtype(str(like.dtype)):
        raise ValueError(
            f"{path} is damaged: {name} is {tensor.dtype} {tensor.shape}; "
            f"the architecture wants {like.dtype} {tuple(like.shape)}"
        )
    return tensor
