"""deltarule.cuda: GPUs found or missed, their memory, copies, recordings, and what is said when something fails."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import random
import subprocess
import sys
import textwrap
import threading

import deltarule as dr
import numpy as np
import pytest
from conftest import GPUS
from deltarule import _core, cuda

FACTS = dr.info()["cuda"]
needs_gpu = pytest.mark.skipif(not GPUS, reason="no GPU")
needs_emulator = pytest.mark.skipif(not FACTS["emulated"], reason="needs the GPU in software")
needs_cache = pytest.mark.skipif(
    os.environ.get("DELTARULE_CUDA_CACHE") == "0", reason="DELTARULE_CUDA_CACHE=0"
)
MIB = 1 << 20


def run_python(code, **environment):
    """A process of its own that runs `code`: (exit code, stdout, stderr)."""
    start = "import sys; sys.path[:] = " + repr(sys.path) + "\n" + "import numpy as np, deltarule as dr\n"
    start += "from deltarule import _core, cuda\n"
    result = subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(code)],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return result.returncode, result.stdout.strip(), result.stderr.strip()


def address(a):
    """Of an array's memory, out of its DLPack capsule."""
    capsule = a.__dlpack__(stream=-1)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.c_void_p.from_address(pointer(capsule, b"dltensor")).value


def empty(bytes_, device="cuda"):
    return dr.empty((bytes_,), "uint8", device=device)


@pytest.fixture
def memory():
    """cuda.memory, with nothing cached at the start and no limit at the end."""
    gc.collect()
    cuda.release_cached()
    yield cuda.memory
    cuda.set_memory_limit(None)


class TestWithoutAGpu:
    pytestmark = pytest.mark.skipif(bool(GPUS), reason="there is one")

    def test_the_module_says_so(self):
        assert not cuda.is_available()
        assert cuda.device_count() == 0
        assert cuda.missing()
        assert "\n" not in cuda.missing()

    @pytest.mark.parametrize("name", ["memory", "release_cached", "synchronize", "properties"])
    def test_functions_say_why(self, name, one_line):
        with one_line(dr.DeviceError, "device is 'cuda'; this machine and build have: cpu; "):
            getattr(cuda, name)()

    def test_so_does_the_limit(self, one_line):
        with one_line(dr.DeviceError, "device is 'cuda:1'"):
            cuda.set_memory_limit(1 << 30, "cuda:1")

    def test_and_arrays(self, one_line):
        for reason in (cuda.missing(), FACTS["missing"]):
            with one_line(dr.DeviceError, reason.replace("(", r"\(").replace(")", r"\)")):
                dr.zeros((2,), device="cuda")


class TestAnywhere:
    def test_info(self):
        assert FACTS["available"] == cuda.is_available() == (FACTS["missing"] == "")
        assert len(FACTS["devices"]) == cuda.device_count() == len(dr.devices()) - 1
        assert set(FACTS) == {"available", "missing", "devices", "runtime", "driver", "emulated"}

    def test_the_command_line_says_it(self, run):
        code, out, _ = run("info")
        assert code == 0
        line = next(line for line in out.splitlines() if line.startswith("cuda "))
        assert (cuda.missing() or FACTS["devices"][0]["name"]) in line

    @pytest.mark.parametrize("limit", [0, -1])
    def test_a_limit_is_positive(self, limit, one_line):
        with one_line(ValueError, f"bytes is {limit}; at least 1 is wanted"):
            cuda.set_memory_limit(limit)

    def test_the_cpu_is_no_gpu(self, one_line):
        with one_line(dr.DeviceError, "memory: device is 'cpu'; a CUDA device is wanted"):
            cuda.memory("cpu")


@needs_emulator
class TestFinding:
    def test_import_and_the_cpu_do_not_start_cuda(self):
        # The emulator ends the process when it starts with such a setting.
        wrong = {"DELTARULE_EMULATED_CAPABILITY": "nonsense"}
        assert run_python("dr.zeros((3,)); print(1)", **wrong) == (0, "1", "")
        assert run_python("dr.devices()", **wrong)[0] != 0

    def test_no_gpu(self):
        code, out, _ = run_python("print(cuda.missing())", DELTARULE_EMULATED_GPUS="0")
        assert (code, out) == (0, "the NVIDIA driver finds no GPU; nvidia-smi says what it sees")

    def test_hidden_gpus(self):
        hidden = {"DELTARULE_EMULATED_GPUS": "0", "CUDA_VISIBLE_DEVICES": ""}
        code, out, _ = run_python("print(cuda.missing())", **hidden)
        assert (code, out) == (0, "CUDA_VISIBLE_DEVICES is '', which leaves no GPU; unset or change it")

    def test_an_old_gpu(self):
        old = {"DELTARULE_EMULATED_GPUS": "1", "DELTARULE_EMULATED_CAPABILITY": "7.0"}
        code, out, _ = run_python("print(cuda.missing(), dr.devices())", **old)
        wanted = "GPUs of compute capability 7.5 or above are needed; cuda:0 (Emulated GPU) has 7.0 ['cpu']"
        assert (code, out) == (0, wanted)


@needs_gpu
@pytest.mark.gpu
class TestMemory:
    def test_properties(self):
        found = cuda.properties()
        assert found.name
        assert found.capability >= (7, 5)
        assert found.multiprocessors > 0
        assert found.memory >= cuda.memory().total > 0

    @needs_cache
    def test_memory_is_used_again(self, memory):
        for size in (1, 1000, 300_000, 3 * MIB, 40 * MIB):
            a = empty(size)
            where, reserved = address(a), memory().used + memory().cached
            del a
            b = empty(size)
            assert address(b) == where
            assert where % 256 == 0
            assert memory().used + memory().cached == reserved

    @needs_cache
    def test_statistics(self, memory):
        before = memory()
        assert before.limit is None
        a = empty(3 * MIB)
        used = memory().used - before.used
        assert 3 * MIB <= used <= 3 * MIB * 9 // 8
        assert memory().peak >= memory().used
        del a
        assert memory().used == before.used
        assert memory().cached >= used
        cuda.release_cached()
        assert memory().cached <= before.cached
        assert memory().free >= before.free
        assert memory().peak >= before.used + used

    @needs_cache
    def test_little_is_wasted(self, memory):
        before = memory().used
        for size in [1, 511, 512, 513, *(int(1.37**i) for i in range(20, 58))]:
            a = empty(size)
            assert size <= memory().used - before <= size + max(511, size // 8), size
            del a

    def test_a_large_segment_is_not_split_for_little(self, memory):
        large = empty(64 * MIB)
        del large
        small = empty(17 * MIB)
        cuda.release_cached()
        assert memory().cached <= 2 * MIB + (memory().used - small.nbytes)

    def test_limit(self, memory, one_line):
        a = dr.asarray(np.arange(1000.0), device="cuda")
        cuda.set_memory_limit(memory().used + memory().cached + 10 * MIB)
        assert memory().limit == memory().used + memory().cached + 10 * MIB
        before = memory()
        text = (
            r"^cuda:0: out of memory, asked for 20.0 MiB; used .* [KM]iB, cached .*, limit .* MiB "
            r"\(set_memory_limit\), free on the device .*; smaller batches, float32 or uint8 data, or a higher limit"
        )
        for _ in range(3):
            with one_line(dr.DeviceError, text):
                empty(20 * MIB)
        assert memory().used == before.used
        assert np.array_equal(a.to("cpu"), np.arange(1000.0))
        b = empty(9 * MIB)
        with one_line(dr.DeviceError, "out of memory"):
            empty(9 * MIB)
        del b
        assert empty(10 * MIB).nbytes == 10 * MIB  # what was cached goes for it

    def test_more_than_any_gpu_has(self, one_line):
        with one_line(dr.DeviceError, "asked for 1024.0 TiB; .* limit none"):
            empty(1 << 50)

    @needs_emulator
    def test_the_gpu_s_own_end(self):
        code = """
        held = [dr.empty((60_000_000,), "uint8", device="cuda")]
        try:
            dr.empty((60_000_000,), "uint8", device="cuda")
        except dr.DeviceError as error:
            print(error)
        del held[0]
        print(dr.empty((70_000_000,), "uint8", device="cuda").device)
        """
        code, out, error = run_python(
            code, DELTARULE_EMULATED_MEMORY="100000000", DELTARULE_EMULATED_GPUS="1"
        )
        assert (code, error) == (0, "")
        text, device = out.splitlines()
        assert text.startswith("cuda:0: out of memory, asked for 57.2 MiB; used ")
        assert ", limit none, free on the device " in text
        assert device == "cuda:0"

    def test_arrays_never_overlap(self, memory):
        """Arrays of many sizes come and go; each keeps what was written to it."""
        chance, used = random.Random(5), memory().used
        held = []
        for i in range(1500):
            if held and chance.random() < 0.5:
                a, value, size = held.pop(chance.randrange(len(held)))
                assert np.array_equal(a.to("cpu"), np.full(size, value, np.uint8))
                del a
            else:
                size = int(2 ** chance.uniform(0, 14 if chance.random() < 0.8 else 22))
                held.append((dr.asarray(np.full(size, i % 251, np.uint8), device="cuda"), i % 251, size))
            if i % 300 == 299:
                cuda.release_cached()
        a = None
        held.clear()
        assert memory().used == used
        cuda.release_cached()
        assert memory().cached < 2 * MIB + used

    def test_threads(self, memory):
        used, wrong = memory().used, []

        def work(seed):
            chance = np.random.default_rng(seed)
            for _ in range(60):
                x = chance.integers(0, 255, int(2 ** chance.uniform(0, 18)), np.uint8)
                if not np.array_equal(dr.asarray(x, device="cuda").to("cpu"), x):
                    wrong.append(seed)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert memory().used == used

    def test_without_a_cache(self):
        code = """
        before = cuda.memory().used
        a = dr.asarray(np.arange(1001, dtype="uint8"), device="cuda")
        assert cuda.memory().used - before == 1001
        assert np.array_equal(a.to("cpu"), np.arange(1001, dtype="uint8"))
        del a
        assert cuda.memory().cached == 0
        assert cuda.memory().used == before
        """
        assert run_python(code, DELTARULE_CUDA_CACHE="0") == (0, "", "")


@needs_gpu
@pytest.mark.gpu
class TestCopies:
    @pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 13 * MIB + 7])
    def test_there_and_back(self, size):
        x = np.random.default_rng(size).integers(0, 255, size, np.uint8)
        assert np.array_equal(dr.asarray(x, device="cuda").to("cpu"), x)

    @pytest.mark.parametrize("size", [1000, 5 * MIB])
    def test_the_source_is_free_at_once(self, size):
        x = np.zeros(size, np.uint8)
        a = dr.asarray(x, device="cuda")
        x[:] = 1
        assert not np.asarray(a.to("cpu")).any()

    def test_two_gpus(self):
        if not FACTS["emulated"] and cuda.device_count() < 2:
            pytest.skip("one GPU")
        code = """
        assert dr.devices()[:3] == ["cpu", "cuda:0", "cuda:1"]
        x = np.random.default_rng(1).random(300_000)
        a = dr.asarray(x, device="cuda:0")
        b = a.to("cuda:1")
        c = dr.asarray(x, device="cuda:1").to("cuda:0")
        assert (b.device, c.device) == ("cuda:1", "cuda:0")
        a[:] = 0  # waits for the copy
        assert np.array_equal(b.to("cpu"), x) and np.array_equal(c.to("cpu"), x)
        assert cuda.memory("cuda:0").used >= 2 * x.nbytes and cuda.memory("cuda:1").used >= x.nbytes
        cuda.set_memory_limit(1 << 20, "cuda:1")
        dr.zeros((1 << 20,), device="cuda:0")
        try:
            dr.zeros((1 << 20,), device="cuda:1")
        except dr.DeviceError as error:
            print(str(error).split(",")[0])
        """
        wanted = (0, "cuda:1: out of memory", "")
        assert run_python(code, DELTARULE_EMULATED_GPUS="2") == wanted


@needs_gpu
@pytest.mark.gpu
class TestRecordings:
    @pytest.fixture(autouse=True)
    def ended(self):
        """A test that fails leaves no recording open."""
        yield
        with contextlib.suppress(dr.DeviceError):
            _core.cuda.recorded("cuda:0")

    def test_work_is_done_when_it_is_run(self):
        a, one = (dr.asarray(np.ones(100), device="cuda") for _ in range(2))
        _core.cuda.record("cuda:0")
        a += one
        recording = _core.cuda.recorded("cuda:0")
        assert np.array_equal(a.to("cpu"), np.ones(100))
        for i in range(3):
            _core.cuda.run(recording, "cuda:0")
            assert np.array_equal(a.to("cpu"), np.full(100, 2.0 + i))

    def test_its_memory_is_its_own(self):
        _core.cuda.record("cuda:0")
        a = dr.zeros((1000,), device="cuda")
        where = address(a)
        del a
        recording = _core.cuda.recorded("cuda:0")
        b = empty(8000)
        assert address(b) != where
        _core.cuda.run(recording, "cuda:0")
        del b, recording
        assert where in [address(c) for c in [empty(8000) for _ in range(4)]]

    def test_memory_that_cuda_must_give(self, memory):
        _core.cuda.record("cuda:0")
        a = dr.zeros((50 * MIB,), "uint8", device="cuda")
        recording = _core.cuda.recorded("cuda:0")
        _core.cuda.run(recording, "cuda:0")
        assert not np.asarray(a.to("cpu")).any()

    def test_what_cannot_be_part_of_it(self, one_line):
        a = dr.zeros((3,), device="cuda")
        _core.cuda.record("cuda:0")
        for name, call in {
            "synchronize": cuda.synchronize,
            "download": lambda: a.to("cpu"),
            "upload": lambda: dr.asarray(np.ones(3), device="cuda"),
        }.items():
            with one_line(dr.DeviceError, f"cuda:0: {name} cannot be part of a recording"):
                call()
        with one_line(dr.DeviceError, "a recording is under way in this thread"):
            _core.cuda.record("cuda:0")
        _core.cuda.recorded("cuda:0")
        with one_line(dr.DeviceError, "no recording is under way"):
            _core.cuda.recorded("cuda:0")
        assert np.array_equal(a.to("cpu"), np.zeros(3))

    def test_other_threads_work_as_ever(self):
        a, one = dr.asarray(np.zeros(10), device="cuda"), dr.asarray(np.ones(10), device="cuda")
        seen = []

        def other():
            a[:] = 5
            seen.append(dr.asarray(np.arange(100_000), device="cuda").to("cpu").numpy())
            seen.append(dr.zeros((70 * MIB,), "uint8", device="cuda").to("cpu").numpy()[:10])

        _core.cuda.record("cuda:0")
        a += one
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        recording = _core.cuda.recorded("cuda:0")
        assert np.array_equal(seen[0], np.arange(100_000))
        assert not seen[1].any()
        assert np.array_equal(a.to("cpu"), np.full(10, 5.0))
        _core.cuda.run(recording, "cuda:0")
        assert np.array_equal(a.to("cpu"), np.full(10, 6.0))

    def test_two_threads_record_one_after_the_other(self):
        arrays = [dr.asarray(np.zeros(10), device="cuda") for _ in range(4)]
        numbers = [dr.asarray(np.full(10, float(i)), device="cuda") for i in range(4)]
        recordings = {}

        def work(i):
            for _ in range(5):
                _core.cuda.record("cuda:0")
                arrays[i] += numbers[i]
                recordings[i] = _core.cuda.recorded("cuda:0")

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for i in range(4):
            _core.cuda.run(recordings[i], "cuda:0")
        assert [float(a.to("cpu").numpy()[0]) for a in arrays] == [0, 1, 2, 3]


@needs_gpu
@pytest.mark.gpu
class TestFailures:
    def test_scratch_memory_that_is_not_there(self):
        code = """
        x = dr.asarray(np.ones((200, 1 << 14), np.float32), device="cuda")
        y = dr.empty((1 << 14,), "float32", device="cuda")
        cuda.set_memory_limit(cuda.memory().used + cuda.memory().cached)
        hold = []
        while True:
            try:
                hold.append(dr.empty((512,), "uint8", device="cuda"))
            except dr.DeviceError:
                break
        try:
            print(dr.sum(x, axis=0)[:3].to("cpu"))
        except dr.DeviceError as error:
            print(error)
        hold.clear()
        cuda.set_memory_limit(None)
        assert np.array_equal(dr.sum(x, axis=0).to("cpu"), np.full(1 << 14, 200))
        """
        code, out, error = run_python(code)
        assert (code, error) == (0, "")
        assert out.startswith("cuda:0: out of memory, asked for ")
        assert "\n" not in out

    @needs_emulator
    @pytest.mark.parametrize("work", ["a + a", "_core.cuda.run(recording, 'cuda:0')"])
    def test_an_error_of_a_kernel(self, work):
        code = f"""
        import ctypes
        a = dr.zeros((1000,), device="cuda")
        _core.cuda.record("cuda:0")
        a += a
        recording = _core.cuda.recorded("cuda:0")
        ctypes.CDLL(_core.__file__).deltarule_shim_fail_next_launch(700)
        b = {work}
        calls = [cuda.synchronize, lambda: a.to("cpu"), cuda.memory, lambda: a * 2]
        for call in [*calls, lambda: dr.zeros((3,), device="cuda")]:
            try:
                call()
            except dr.DeviceError as error:
                print(error)
        print(dr.zeros((2,)) + 1)
        """
        code, out, error = run_python(code)
        assert (code, error) == (0, "")
        *lines, last = out.splitlines()
        assert len(lines) == 5
        assert len(set(lines)) == 1
        assert lines[0].startswith("cuda:0 cannot be used any more: kernel ")
        assert " (csrc/cuda/" in lines[0]
        assert (
            "or work queued before it, failed: cudaErrorIllegalAddress (an illegal memory access was"
            in lines[0]
        )
        assert "restart the process" in lines[0]
        assert last == "[1. 1.]"

    def test_a_forked_process(self):
        code = """
        import os, warnings
        warnings.simplefilter("ignore")
        a, b = dr.zeros((1000,), device="cuda"), dr.zeros((1000,), device="cuda")
        child = os.fork()
        if child == 0:
            try:
                dr.zeros((2,), device="cuda")
            except dr.DeviceError as error:
                print(error, flush=True)
            for call in (lambda: a.to("cpu"), cuda.memory, cuda.properties):
                try:
                    call()
                except dr.DeviceError:
                    print("refused", flush=True)
            del a
            assert np.array_equal(dr.ones((3,)) + 1, np.full(3, 2.0))
            sys.exit(0)  # with b still alive
        assert os.waitpid(child, 0)[1] == 0
        assert np.array_equal(a.to("cpu"), np.zeros(1000))
        """
        text = (
            "cuda:0: this process was forked after CUDA was initialised; use multiprocessing with the 'spawn' "
            "start method"
        )
        assert run_python(code) == (0, "\n".join([text, "refused", "refused", "refused"]), "")

    def test_a_fork_before_cuda(self):
        code = """
        import os, warnings
        warnings.simplefilter("ignore")
        child = os.fork()
        if child == 0:
            print(dr.zeros((2,), device="cuda").device, flush=True)
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """
        assert run_python(code) == (0, "cuda:0", "")

    def test_arrays_at_the_end_of_the_process(self):
        code = """
        import threading
        a = [dr.zeros((1000,), device="cuda")]
        a.append(a)  # not freed by counting
        sys.modules["kept"] = dr.asarray(np.zeros(1 << 22), device="cuda")
        _core.cuda.record("cuda:0")
        b = dr.zeros((3,), device="cuda")
        sys.modules["recording"] = _core.cuda.recorded("cuda:0")
        thread = threading.Thread(target=lambda: a.append(dr.sum(sys.modules["kept"])))
        thread.start()
        thread.join()
        """
        assert run_python(code) == (0, "", "")
        assert run_python(code, DELTARULE_CUDA_CACHE="0") == (0, "", "")
