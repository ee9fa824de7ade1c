"""The IDX format of MNIST: read and write arrays, raw or gzip-compressed.

Layout (all numbers big-endian): bytes 0 0, one byte dtype, one byte dimension count D, D uint32 sizes, then
the items in C order. Source: the description on Y. LeCun's MNIST page.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .._atomic import replace
from .checks import Array

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_DIMENSIONS = 64  # NumPy's limit
GZIP_MAGIC = b"\x1f\x8b"


def read_at_most(stream: io.BufferedIOBase, count: int) -> bytearray:
    """Read ``count`` bytes or to the end, piece by piece: a damaged header must not reserve terabytes."""
    content = bytearray()
    while len(content) < count:
        piece = stream.read(min(count - len(content), 1 << 24))
        if not piece:
            break
        content += piece
    return content


def read_idx(path: str | os.PathLike[str]) -> Array:
    """Read an IDX file, raw or gzip (told by its first bytes), whole and checked.

    Returns
    -------
    array
        uint8, int8, int16, int32, float32 or float64 in native byte order, of the shape in the header.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is truncated, is not IDX, or its length differs from what its header says.
    """
    path = Path(path)
    with open(path, "rb") as raw:
        compressed = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        try:
            if compressed:
                with gzip.GzipFile(fileobj=raw) as stream:
                    return parse_idx(stream, path)
            return parse_idx(raw, path)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"read_idx: {path}: gzip data is truncated or damaged ({error})") from error


def parse_idx(stream: io.BufferedIOBase, path: Path) -> Array:
    """Parse the header and the items of an opened, decompressed IDX file; ``path`` is for messages."""
    magic = bytes(read_at_most(stream, 4))
    if len(magic) < 4:
        raise ValueError(f"read_idx: {path}: {len(magic)} bytes; wanted an IDX header of at least 8")
    if magic[:2] != b"\0\0" or magic[2] not in DTYPES:
        known = ", ".join(f"0000{code:02x}" for code in DTYPES)
        raise ValueError(
            f"read_idx: {path}: magic is {magic.hex()}; wanted IDX, which begins with one of {known}"
        )
    dimensions = magic[3]
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise ValueError(f"read_idx: {path}: {dimensions} dimensions; wanted 1 to {MAX_DIMENSIONS}")
    header = bytes(read_at_most(stream, 4 * dimensions))
    if len(header) < 4 * dimensions:
        raise ValueError(f"read_idx: {path}: file ends inside the header; wanted {dimensions} sizes")
    shape = struct.unpack(f">{dimensions}I", header)
    dtype = np.dtype(DTYPES[magic[2]])
    wanted = math.prod(shape) * dtype.itemsize
    # One byte more than wanted: it shows a longer file, and makes gzip verify its checksum at the end.
    content = read_at_most(stream, wanted + 1)
    if len(content) != wanted:
        came = f"{len(content)} bytes" if len(content) < wanted else "more"
        raise ValueError(
            f"read_idx: {path}: header says shape {shape}, {wanted} bytes of items; the file holds {came}"
        )
    return np.frombuffer(content, dtype=dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def write_idx(path: str | os.PathLike[str], array: npt.ArrayLike) -> None:
    """Write an array as IDX, compressed if the name ends in ``.gz``; the same array gives the same bytes.

    The file is written beside its place under a temporary name, synchronised, then renamed: after an error or
    a crash ``path`` holds its old content or the new one, never a part.

    Raises
    ------
    TypeError
        If IDX has no such dtype (int64, bool, ...).
    ValueError
        If the array has no dimension, or a size does not fit in 32 bits.
    OSError
        If the file cannot be written.
    """
    path, array = Path(path), np.asarray(array)
    codes = {np.dtype(d).newbyteorder("="): code for code, d in DTYPES.items()}
    code = codes.get(array.dtype.newbyteorder("="))
    if code is None:
        raise TypeError(f"write_idx: array is {array.dtype}; IDX holds {', '.join(d.name for d in codes)}")
    if array.ndim == 0 or max(array.shape) >= 2**32:
        raise ValueError(
            f"write_idx: array has shape {array.shape}; wanted 1 dimension or more, sizes below 2**32"
        )
    header = struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    content = header + array.astype(DTYPES[code]).tobytes()
    if path.name.endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    replace(path, content)
