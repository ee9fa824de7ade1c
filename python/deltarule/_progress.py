"""When progress is shown: on a terminal (not in notebooks, CI), unless it is asked for everywhere."""

from __future__ import annotations

import sys


def wanted(progress: bool | str, where: str) -> bool:
    """Whether to show it for ``progress``, which is False, True or "always", to the call ``where``."""
    if progress not in (False, True, "always"):
        raise ValueError(f"{where}: progress is {progress!r}; choices: False, True, 'always'")
    return progress == "always" or (bool(progress) and sys.stderr.isatty())
