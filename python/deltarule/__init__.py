"""Deep, big, simple neural nets at hardware speed.

Arrays are NumPy's, on a device: same functions, same rules, memory shared both ways. ``deltarule.nn`` trains
networks, ``deltarule.data`` loads data sets; both are imported by name.
"""

import os as _os

from numpy import bool, e, float32, float64, inf, int32, int64, nan, newaxis, pi, uint8

from deltarule import _array as _array  # completes the class
from deltarule import _creation, _functions, _threads
from deltarule import _mistakes as _mistakes  # one line for refused arguments
from deltarule._core import (
    Array,
    DeviceError,
    __version__,
    devices,
    info,
    isa,
    isas,
    num_threads,
    set_isa,
    set_num_threads,
)
from deltarule._creation import *  # noqa: F403
from deltarule._functions import *  # noqa: F403

_threads.heed_openmp(_os.environ)

__all__ = ["Array", "DeviceError", "__version__"]
__all__ += ["bool", "e", "float32", "float64", "inf", "int32", "int64", "nan", "newaxis", "pi", "uint8"]
__all__ += ["devices", "info", "isa", "isas", "num_threads", "set_isa", "set_num_threads"]
__all__ += _creation.__all__
__all__ += _functions.__all__
