"""The emulated GPU that runs the CUDA kernels in software for tests: its own checks, in C++."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GXX = shutil.which("g++")
FLAGS = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]


@pytest.mark.slow
@pytest.mark.skipif(GXX is None, reason="no g++")
def test_shim(tmp_path):
    program = tmp_path / "shim_test"
    sources = [*sorted((ROOT / "tests/cuda/shim").glob("*.cpp")), ROOT / "tests/cuda/shim_test.cpp"]
    includes = [f"-I{ROOT / 'tests/cuda/shim'}", f"-I{ROOT / 'csrc'}"]
    subprocess.run([GXX, *FLAGS, *includes, *sources, "-o", program, "-pthread", "-ldl"], check=True)
    result = subprocess.run([program], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
