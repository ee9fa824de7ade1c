"""Data sets: loading, IDX files, splitting, standardisation, and random deformations of images.

Imports NumPy alone; downloads import pooch, and the digits scikit-learn, when they are asked for.
"""

from . import augment
from .checks import check_samples
from .datasets import load, names
from .download import cache_dir
from .idx import read_idx, write_idx
from .samples import Dataset, Samples
from .standardize import Standardizer

__all__ = [
    "Dataset",
    "Samples",
    "Standardizer",
    "augment",
    "cache_dir",
    "check_samples",
    "load",
    "names",
    "read_idx",
    "write_idx",
]
