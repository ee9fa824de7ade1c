"""Deep, big, simple neural nets at hardware speed."""

from deltarule._core import DeviceError, __version__

__all__ = ["DeviceError", "__version__"]
