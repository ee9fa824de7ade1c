"""gemm_hopper.cu compiled for the emulated GPU, or by nvcc for a Hopper GPU of this machine, and its call."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
from deltarule import _core

ROOT = Path(__file__).parent.parent
PRECISIONS = ["highest", "high", "medium"]
EPILOGUES = ["none", "bias_act", "backprop", "sgd"]
EMULATED = ["-std=c++20", "-O2", "-fPIC", "-ffp-contract=off", "-Wno-unknown-pragmas", "-Wno-psabi"]
REAL = ["-std=c++20", "-O3", "--expt-relaxed-constexpr", "--expt-extended-lambda", "-Xcompiler=-fPIC"]


class Memory(ctypes.Structure):
    _fields_ = [("host", ctypes.c_void_p), ("bytes", ctypes.c_int64)]


def fields(kind, names):
    return [(name, kind) for name in names.split()]


class Call(ctypes.Structure):
    _fields_ = [
        *fields(ctypes.c_int32, "precision trans_a trans_b epilogue activation nesterov"),
        *fields(ctypes.c_int32, "columns splits multiprocessors"),
        *fields(ctypes.c_int64, "M N K lda ldb ldc ldz ldy"),
        *fields(ctypes.c_double, "alpha beta slope lr momentum weight_decay"),
        *fields(ctypes.c_void_p, "a b c bias z y db velocity"),
        *fields(ctypes.c_int32, "has_state stopped"),
        *fields(ctypes.c_double, "state_lr"),
    ]


def hopper_gpu():
    """Whether this machine has a GPU for which nvcc can build."""
    if shutil.which("nvcc") is None or shutil.which("nvidia-smi") is None:
        return False
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, check=False)
    return found.returncode == 0 and found.stdout.startswith("9.0")


def build(folder):
    """The library; None where there is no compiler for it."""
    library = Path(folder) / "libhopper.so"
    sources = [ROOT / "csrc/cuda/gemm_hopper.cu", ROOT / "tests/cuda/gemm_hopper.cpp"]
    if hopper_gpu():
        command = ["nvcc", *REAL, "-gencode=arch=compute_90a,code=sm_90a", f"-I{ROOT / 'csrc'}", "-x", "cu"]
        command += [*sources, "-shared"]
    else:
        compiler = shutil.which("g++")
        if compiler is None:
            return None
        shim = ROOT / "tests/cuda/shim"
        sources += [*sorted(shim.glob("*.cpp")), ROOT / "tests/cuda/ptx_hopper.cpp"]
        command = [compiler, *EMULATED, f"-I{shim}", f"-I{ROOT / 'csrc'}", "-x", "c++", *sources]
        command += ["-shared", "-pthread", "-ldl"]
    subprocess.run([*command, "-o", library], check=True)
    return library


class Hopper:
    def __init__(self, library):
        self.library = ctypes.CDLL(os.fspath(library))
        self.library.hopper_gemm.restype = ctypes.c_char_p
        if hasattr(self.library, "ptx_hopper_layouts"):
            self.library.ptx_hopper_layouts.restype = ctypes.c_char_p

    def gemm(
        self, a, b, c, *, plan=None, multiprocessors=2, precision="highest", trans_a=False, trans_b=False,
        epilogue="none", activation="linear", bias=None, z=None, y=None, db=None, velocity=None, state=None, **numbers,
    ):  # fmt: skip
        """As _core.kernels.gemm. plan: (columns, splits), else as planned if that pays. state: (lr, stopped).

        Few multiprocessors, so that each takes several units.
        """
        call = Call(precision=PRECISIONS.index(precision), trans_a=trans_a, trans_b=trans_b, alpha=1.0)
        call.epilogue, call.activation = EPILOGUES.index(epilogue), _core.activations().index(activation)
        call.columns, call.splits = plan or (0, 0)
        call.multiprocessors = multiprocessors
        call.M, call.N = c.shape
        call.K = a.shape[0] if trans_a else a.shape[1]
        for name, value in numbers.items():
            setattr(call, name, value)
        whole = {}
        for name, x in {"a": a, "b": b, "c": c, "bias": bias, "z": z, "y": y, "db": db}.items():
            self._place(call, whole, name, x)
        self._place(call, whole, "velocity", velocity)
        if state is not None:
            call.has_state, (call.state_lr, call.stopped) = 1, state
        memory = (Memory * len(whole))(*[Memory(at, size) for at, size in whole.values()])
        error = self.library.hopper_gemm(ctypes.byref(call), memory, len(whole))
        assert error is None, error.decode()

    @staticmethod
    def _place(call, whole, name, x):
        if x is None:
            return
        assert x.dtype == np.float32
        buffer = x
        while isinstance(buffer.base, np.ndarray):
            buffer = buffer.base
        whole[buffer.ctypes.data] = (buffer.ctypes.data, buffer.nbytes)
        setattr(call, name, x.ctypes.data)
        if x.ndim == 2 and name != "velocity":
            setattr(call, f"ld{name}", x.strides[0] // 4)

    def walk(self, m, n, k, columns, splits):
        """(how often each tile meets each block of K, the tiles in the order of their units)"""
        tiles = -(-m // 128) * -(-n // columns)
        visits = np.zeros((tiles, -(-k // 64)), np.int32)
        order = np.zeros(tiles * splits, np.int32)
        pointers = [x.ctypes.data_as(ctypes.c_void_p) for x in (visits, order)]
        sizes = [ctypes.c_int64(x) for x in (m, n, k)]
        self.library.hopper_walk(*sizes, columns, splits, *pointers)
        return visits, order

    def planned(self, m, n, k, precision):
        """(columns, splits, whether it pays)"""
        plan = np.zeros(3, np.int32)
        planes = {"highest": 3, "high": 2, "medium": 1}[precision]
        sizes = [ctypes.c_int64(x) for x in (m, n, k)]
        self.library.hopper_planned(*sizes, planes, plan.ctypes.data_as(ctypes.c_void_p))
        return tuple(plan)
