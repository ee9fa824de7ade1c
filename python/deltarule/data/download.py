"""Published files: mirrors tried in order, SHA-256 verified, then used from the cache, offline too."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DATA_DIR = "data_dir (on the command line --data-dir)"


@dataclass(frozen=True)
class Published:
    """A data set in four IDX files.

    Attributes
    ----------
    name : str
        Also its folder in the cache.
    classes : tuple of str
    mirrors : tuple of str
        Addresses of the folder, the first choice first, each ending in ``/``.
    sha256 : mapping
        File name -> SHA-256 of its bytes, in the order train images, train labels, test images, test labels.
    """

    name: str
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    sha256: Mapping[str, str]


def cache_dir() -> Path:
    """Where downloads are kept: ``DELTARULE_CACHE`` if set, else pooch's choice for this operating system.

    Raises
    ------
    ModuleNotFoundError
        If ``DELTARULE_CACHE`` is not set and pooch is not installed.
    """
    chosen = os.environ.get("DELTARULE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "data: the cache folder needs pooch; pip install pooch, or set DELTARULE_CACHE", name="pooch"
        ) from error
    return Path(pooch.os_cache("deltarule"))


def reason(error: Exception) -> str:
    """Why a mirror failed, in a few words: the texts of requests are long and change."""
    import requests.exceptions as failures

    if isinstance(error, failures.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    if isinstance(error, failures.Timeout):
        return "timed out"
    if isinstance(error, failures.ConnectionError):
        return "no connection"
    if isinstance(error, ValueError) and "hash" in str(error):
        return "SHA-256 of the download differs"
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def quiet_pooch() -> Iterator[None]:
    """Without pooch's own lines on stderr: `load` says what is downloaded where that is wanted."""
    import pooch

    logger = pooch.get_logger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def fetch_file(published: Published, file: str) -> Path:
    """The verified file in the cache, downloaded if it is not there or damaged.

    Raises
    ------
    OSError
        If no mirror delivers the right bytes: what to download, where to put it, and why each mirror failed.
    ModuleNotFoundError
        If pooch is not installed.
    """
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"load: {published.name} is downloaded with pooch; "
            f"pip install pooch, or pass {DATA_DIR} with its files",
            name="pooch",
        ) from error
    folder = cache_dir() / published.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"load: cannot write the cache {folder} ({error.strerror}); set DELTARULE_CACHE"
        ) from error
    failed = []
    for mirror in published.mirrors:
        try:
            with quiet_pooch():
                known = "sha256:" + published.sha256[file]
                return Path(pooch.retrieve(mirror + file, known, fname=file, path=folder))
        except (OSError, ValueError) as error:  # of requests, and of pooch for a wrong SHA-256
            failed.append(f"{mirror}: {reason(error)}")
    raise OSError(
        f"load: cannot download {file} of {published.name} ({'; '.join(failed)}); "
        f"get {published.mirrors[0]}{file} (sha256 {published.sha256[file]}) elsewhere "
        f"and put it into {folder}, or pass {DATA_DIR}"
    )
