"""Values in messages: one line, not too long."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._core import Array


def shown(value: Any, longest: int = 60) -> str:
    """A value in one line of at most so many letters; of an array its shape and dtype."""
    if isinstance(value, (Array, np.ndarray)):
        return f"an array {value.shape} of {value.dtype}"
    text = " ".join(repr(value).split())
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
