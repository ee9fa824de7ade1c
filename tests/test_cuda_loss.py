"""The CUDA loss with the state of a recorded training, on the emulated GPU: checks in C++."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GXX = shutil.which("g++")
FLAGS = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]


@pytest.mark.slow
@pytest.mark.skipif(GXX is None, reason="no g++")
def test_loss_with_a_state(tmp_path):
    program = tmp_path / "loss_state_test"
    kernels = [ROOT / "csrc/cuda/loss.cu", ROOT / "tests/cuda/loss_state_test.cpp"]
    emulator = sorted((ROOT / "tests/cuda/shim").glob("*.cpp"))
    includes = [f"-I{ROOT / 'tests/cuda/shim'}", f"-I{ROOT / 'csrc'}"]
    command = [GXX, *FLAGS, *includes, "-xc++", *kernels, *emulator, "-o", program, "-pthread", "-ldl"]
    subprocess.run(command, check=True)
    result = subprocess.run([program], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
