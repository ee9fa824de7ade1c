"""gemm_mma.cuh compiled for the emulated GPU, or by nvcc for this machine's, and its call."""

import ctypes
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from deltarule import _core

ROOT = Path(__file__).parent.parent
PRECISIONS = ["highest", "high", "medium"]
EPILOGUES = ["none", "bias_act", "backprop", "sgd"]
TILES = ["small", "large", "wide"]
EMULATED = ["-std=c++20", "-O2", "-fPIC", "-ffp-contract=off", "-fvisibility=hidden", "-Wno-unknown-pragmas"]
REAL = ["-std=c++20", "-O3", "--expt-relaxed-constexpr", "--expt-extended-lambda", "-Xcompiler=-fPIC"]


class Memory(ctypes.Structure):
    _fields_ = [("host", ctypes.c_void_p), ("bytes", ctypes.c_int64)]


class Call(ctypes.Structure):
    _fields_ = [
        *[
            (name, ctypes.c_int32)
            for name in ["precision", "trans_a", "trans_b", "epilogue", "activation", "nesterov"]
        ],
        *[(name, ctypes.c_int32) for name in ["tile", "splits", "has_state", "stopped"]],
        *[(name, ctypes.c_int64) for name in ["M", "N", "K", "lda", "ldb", "ldc", "ldz", "ldy"]],
        *[
            (name, ctypes.c_double)
            for name in ["alpha", "beta", "slope", "lr", "momentum", "weight_decay", "state_lr"]
        ],
        *[(name, ctypes.c_void_p) for name in ["a", "b", "c", "bias", "z", "y", "db", "velocity"]],
    ]


def capability():
    """Of a GPU of this machine that nvcc can build for, as in "80"; else None."""
    if shutil.which("nvcc") is None or shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, check=False)
    number = found.stdout.split("\n")[0].replace(".", "")
    return number if found.returncode == 0 and number.isdigit() and int(number) >= 80 else None


def build(folder):
    """The library; None where there is no compiler for it."""
    folder, on_gpu = Path(folder), capability()
    sources = [*sorted((ROOT / "csrc/cuda").glob("gemm_mma*.cu")), ROOT / "tests/cuda/gemm_mma.cpp"]
    if on_gpu:
        compile_ = ["nvcc", *REAL, f"-gencode=arch=compute_{on_gpu},code=sm_{on_gpu}", "-x", "cu"]
        link = ["nvcc", "-shared"]
    else:
        compiler = shutil.which("g++")
        if compiler is None:
            return None
        shim = ROOT / "tests/cuda/shim"
        sources += sorted(shim.glob("*.cpp"))
        compile_ = [compiler, *EMULATED, f"-I{shim}", "-x", "c++"]
        link = [compiler, "-shared", "-pthread", "-ldl"]

    def compiled(source):
        to = folder / f"{source.name}.o"
        subprocess.run([*compile_, f"-I{ROOT / 'csrc'}", "-c", source, "-o", to], check=True)
        return to

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, sources))
    library = folder / "libmma.so"
    subprocess.run([*link, *objects, "-o", library], check=True)
    return library


class Mma:
    def __init__(self, library):
        self.library = ctypes.CDLL(os.fspath(library))
        self.library.mma_gemm.restype = ctypes.c_char_p
        self.library.mma_planned.restype = ctypes.c_bool

    def gemm(
        self, a, b, c, *, plan=None, precision="highest", trans_a=False, trans_b=False, epilogue="none",
        activation="linear", bias=None, z=None, y=None, db=None, velocity=None, state=None, **numbers,
    ):  # fmt: skip
        """As _core.kernels.gemm. plan: (tile, splits), else as planned if that pays. state: (lr, stopped)."""
        call = Call(precision=PRECISIONS.index(precision), trans_a=trans_a, trans_b=trans_b, alpha=1.0)
        call.epilogue, call.activation = EPILOGUES.index(epilogue), _core.activations().index(activation)
        call.tile, call.splits = (TILES.index(plan[0]), plan[1]) if plan else (-1, 0)
        call.M, call.N = c.shape
        call.K = a.shape[0] if trans_a else a.shape[1]
        for name, value in numbers.items():
            setattr(call, name, value)
        whole = {}
        operands = {"a": a, "b": b, "c": c, "bias": bias, "z": z, "y": y, "db": db, "velocity": velocity}
        for name, x in operands.items():
            if x is not None:
                self._place(call, whole, name, x)
        if state is not None:
            call.has_state, (call.state_lr, call.stopped) = 1, state
        memory = (Memory * len(whole))(*[Memory(at, size) for at, size in whole.items()])
        error = self.library.mma_gemm(ctypes.byref(call), memory, len(whole))
        assert error is None, error.decode()

    @staticmethod
    def _place(call, whole, name, x):
        assert x.dtype == np.float32
        buffer = x
        while isinstance(buffer.base, np.ndarray):
            buffer = buffer.base
        whole[buffer.ctypes.data] = buffer.nbytes
        setattr(call, name, x.ctypes.data)
        if x.ndim == 2 and name != "velocity":
            setattr(call, f"ld{name}", x.strides[0] // 4)

    def planned(self, m, n, k, precision):
        """((tile, splits), whether it pays on this GPU)"""
        plan = (ctypes.c_int32 * 2)()
        sizes = [ctypes.c_int64(x) for x in (m, n, k)]
        pays = self.library.mma_planned(*sizes, PRECISIONS.index(precision), plan)
        return (TILES[plan[0]], plan[1]), pays
