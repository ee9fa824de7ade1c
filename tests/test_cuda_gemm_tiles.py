"""Matrix products on CUDA cores on the emulated GPU: every tile and number of splits, in C++."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GXX = shutil.which("g++")
FLAGS = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
KERNELS = ["gemm_ffma.cu", "gemm_dfma.cu", "gemm_few.cu", "online.cu"]


@pytest.mark.skipif(GXX is None, reason="no g++")
@pytest.mark.parametrize("copies", ["asynchronous", "held in registers, as before compute capability 8.0"])
def test_tiles(tmp_path, copies):
    program = tmp_path / "gemm_tiles_test"
    define = [] if copies == "asynchronous" else ["-DDELTARULE_SHIM_WITHOUT_COPIES"]
    sources = [*sorted((ROOT / "tests/cuda/shim").glob("*.cpp")), ROOT / "tests/cuda/gemm_tiles_test.cpp"]
    sources += [ROOT / "csrc/cuda" / kernel for kernel in KERNELS]
    includes = [f"-I{ROOT / 'tests/cuda/shim'}", f"-I{ROOT / 'csrc'}"]
    command = [GXX, *FLAGS, *define, *includes, "-x", "c++", *sources, "-o", program, "-pthread", "-ldl"]
    subprocess.run(command, check=True)
    small = [] if copies == "asynchronous" else ["small"]  # any argument leaves out the largest case
    result = subprocess.run([program, *small], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
