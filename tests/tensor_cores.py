"""The products on tensor cores, each compiled by itself for the emulated GPU, or by nvcc for one of this machine, and
called directly: what they do at edges shows on shapes that are too small for them to be chosen."""

import ctypes
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from deltarule import _core

ROOT = Path(__file__).parent.parent
PRECISIONS = ["highest", "high", "medium"]
EPILOGUES = ["none", "bias_act", "backprop", "sgd"]
EMULATED = [
    "-std=c++20",
    "-O2",
    "-fPIC",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-Wno-unknown-pragmas",
    "-Wno-psabi",
]
REAL = ["-std=c++20", "-O3", "--expt-relaxed-constexpr", "--expt-extended-lambda", "-Xcompiler=-fPIC"]


def chain(a, b):
    """A B in float32, each element a chain of fma (but for roundings of float64)."""
    c = np.zeros((len(a), b.shape[1]), np.float32)
    for k in range(a.shape[1]):
        c = (c + a[:, k : k + 1].astype(np.float64) * b[k].astype(np.float64)).astype(np.float32)
    return c


class Memory(ctypes.Structure):
    _fields_ = [("host", ctypes.c_void_p), ("bytes", ctypes.c_int64)]


def _fields(kind, names):
    return [(name, kind) for name in names.split()]


class Call(ctypes.Structure):
    """Of tests/cuda/gemm_call.h."""

    _fields_ = [
        *_fields(ctypes.c_int32, "precision trans_a trans_b epilogue activation nesterov"),
        *_fields(ctypes.c_int32, "tile splits multiprocessors has_state stopped"),
        *_fields(ctypes.c_int64, "M N K lda ldb ldc ldz ldy"),
        *_fields(ctypes.c_double, "alpha beta slope lr momentum weight_decay state_lr"),
        *_fields(ctypes.c_void_p, "a b c bias z y db velocity"),
    ]


def capability():
    """Of this machine's GPU, where nvcc can build for it, as in "90"; else None."""
    if shutil.which("nvcc") is None or shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, check=False)
    number = found.stdout.split("\n")[0].replace(".", "")
    return number if found.returncode == 0 and number.isdigit() else None


class Product:
    """A library, and its call. A plan is (tile, splits of K)."""

    NAME = ""  # of csrc/cuda/gemm_NAME*.cu and tests/cuda/gemm_NAME.cpp
    EMULATED_SOURCES: tuple[str, ...] = ()  # what else the emulated build has
    simple = split = large = aligned = (0, 1)  # plans: one tile size, with splits, other tiles
    redoes_all = False  # one value that planes cannot hold, and the whole product is float32's

    @classmethod
    def target(cls):
        """What nvcc builds for, as in "90a"; None: the emulated GPU."""
        raise NotImplementedError

    @classmethod
    def build(cls, folder):
        """The library's path; None where there is no compiler for it."""
        folder, target = Path(folder), cls.target()
        sources = [
            *sorted((ROOT / "csrc/cuda").glob(f"gemm_{cls.NAME}*.cu")),
            ROOT / f"tests/cuda/gemm_{cls.NAME}.cpp",
        ]
        if target:
            compiler = ["nvcc", *REAL, f"-gencode=arch=compute_{target},code=sm_{target}", "-x", "cu"]
            link = ["nvcc", "-shared"]
        else:
            if shutil.which("g++") is None:
                return None
            shim = ROOT / "tests/cuda/shim"
            sources += [*sorted(shim.glob("*.cpp")), *(ROOT / source for source in cls.EMULATED_SOURCES)]
            compiler = ["g++", *EMULATED, f"-I{shim}", "-x", "c++"]
            link = ["g++", "-shared", "-pthread", "-ldl"]

        def compiled(source):
            to = folder / f"{source.name}.o"
            subprocess.run([*compiler, f"-I{ROOT / 'csrc'}", "-c", source, "-o", to], check=True)
            return to

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compiled, sources))
        library = folder / f"lib{cls.NAME}.so"
        subprocess.run([*link, *objects, "-o", library], check=True)
        return library

    def __init__(self, path):
        self.path = path
        self.library = ctypes.CDLL(os.fspath(path))
        self.library.multiply.restype = ctypes.c_char_p

    def plans(self, precision):
        """All that is worth a look at this precision."""
        raise NotImplementedError

    def tile_number(self, tile):
        return tile

    def fitting(self, plan, k):
        """The plan, with no more splits than there are blocks of K."""
        return plan

    def gemm(
        self, a, b, c, *, plan=None, multiprocessors=0, precision="highest", trans_a=False, trans_b=False,
        epilogue="none", activation="linear", bias=None, z=None, y=None, db=None, velocity=None, state=None, **numbers,
    ):  # fmt: skip
        """As _core.kernels.gemm. plan: None: as planned, if that pays. state: (lr, stopped)."""
        call = Call(precision=PRECISIONS.index(precision), trans_a=trans_a, trans_b=trans_b, alpha=1.0)
        call.epilogue, call.activation = EPILOGUES.index(epilogue), _core.activations().index(activation)
        call.tile, call.splits = (self.tile_number(plan[0]), plan[1]) if plan else (-1, 0)
        call.multiprocessors = multiprocessors
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
        error = self.library.multiply(ctypes.byref(call), memory, len(whole))
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

    def elsewhere(self, code, **variables):
        """Run code, whose `product` is this library, in a process with these variables of the environment."""
        path = os.pathsep.join([str(ROOT / "tests"), *sys.path])
        kind = type(self).__name__
        names = f"import sys, numpy as np\nfrom tensor_cores import PRECISIONS, {kind}\n"
        code = f"{names}product = {kind}(sys.argv[1])\n{code}"
        environment = os.environ | variables | {"PYTHONPATH": path}
        command = [sys.executable, "-c", code, self.path]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


class Mma(Product):
    """gemm_mma.cuh, tiles by size."""

    NAME = "mma"
    TILES = ("small", "large", "wide")
    simple, split, large, aligned = ("small", 1), ("small", 3), ("large", 1), ("small", 2)

    @classmethod
    def target(cls):
        found = capability()
        return found if found and int(found) >= 80 else None

    def __init__(self, path):
        super().__init__(path)
        self.library.mma_planned.restype = ctypes.c_bool

    def tiles(self, precision):
        return self.TILES if precision == "medium" else self.TILES[:2]

    def plans(self, precision):
        return [(tile, splits) for tile in self.tiles(precision) for splits in (1, 2, 3)]

    def tile_number(self, tile):
        return self.TILES.index(tile)

    def planned(self, m, n, k, precision):
        """((tile, splits), whether it pays on this GPU)"""
        plan = (ctypes.c_int32 * 2)()
        sizes = [ctypes.c_int64(x) for x in (m, n, k)]
        pays = self.library.mma_planned(*sizes, PRECISIONS.index(precision), plan)
        return (self.TILES[plan[0]], plan[1]), pays


class Hopper(Product):
    """gemm_hopper.cu, tiles by their columns."""

    NAME = "hopper"
    EMULATED_SOURCES = ("tests/cuda/ptx_hopper.cpp",)
    simple, split, large, aligned = (128, 1), (128, 3), (128, 1), (128, 2)
    redoes_all = True

    @classmethod
    def target(cls):
        return "90a" if capability() == "90" else None

    def __init__(self, path):
        super().__init__(path)
        if hasattr(self.library, "ptx_hopper_layouts"):
            self.library.ptx_hopper_layouts.restype = ctypes.c_char_p

    def plans(self, precision):
        if precision == "medium":
            return [(128, 1), (256, 1), (256, 2), (128, 3)]
        return [(128, 1), (128, 2), (128, 3)]

    def fitting(self, plan, k):
        return plan[0], min(plan[1], -(-k // 64))

    def gemm(self, *operands, multiprocessors=2, **options):
        """Few multiprocessors, so that each takes several units."""
        super().gemm(*operands, multiprocessors=multiprocessors, **options)

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
