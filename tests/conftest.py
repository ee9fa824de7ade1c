"""What several test files share."""

import ctypes
import os
import re
from contextlib import contextmanager
from pathlib import Path

import deltarule as dr
import pytest
import tensor_cores
from deltarule import _core


def pytest_addoption(parser):
    parser.addoption(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="run each Nth of the chosen tests: a spread over all files",
    )


@pytest.hookimpl(trylast=True)  # after -m and -k have chosen
def pytest_collection_modifyitems(config, items):
    step = config.getoption("--every")
    if step < 1:
        raise pytest.UsageError(f"--every is {step}; wanted at least 1")
    if step > 1:
        config.hook.pytest_deselected(items=[item for i, item in enumerate(items) if i % step])
        items[:] = items[::step]


IN_SOFTWARE = ("test_cuda_shim.py", "test_cuda_loss.py")  # of the emulated GPU alone, wherever they run


def pytest_itemcollected(item):
    """What has a GPU to run on is marked: the files test_cuda_*, and what a fixture puts on one (`pytest -m gpu`)."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    on_gpu = any(isinstance(value, str) and value in GPUS for value in parameters)
    if on_gpu or (item.path.name.startswith("test_cuda_") and item.path.name not in IN_SOFTWARE):
        item.add_marker("gpu")


@pytest.fixture
def one_line():
    """pytest.raises for a user's mistake: the message matches and is one line."""

    @contextmanager
    def expect(error, match):
        with pytest.raises(error, match=match) as caught:
            yield caught
        assert "\n" not in str(caught.value)

    return expect


@pytest.fixture(scope="session")
def mnist():
    """Folder of the four original MNIST files; skips where there is none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
    folder = Path(os.environ.get("DELTARULE_MNIST") or default)
    if not (folder / "train-images-idx3-ubyte.gz").is_file():
        pytest.skip(f"no MNIST in {folder}; set DELTARULE_MNIST")
    return folder


# Tables that are another one but for lower precisions of matmul, which test_gemm_bf16.py looks at.
BFLOAT16 = ("amx", "avx512_bf16", "amx_emulated")


GPUS = [name for name in _core.devices() if name != "cpu"][:1]


@pytest.fixture(
    params=[isa["name"] for isa in _core.isas() if isa["supported"] and isa["name"] not in BFLOAT16] + GPUS
)
def isa(request):
    """Each table of this machine with kernels of its own in turn: instruction sets, then the first GPU."""
    before = _core.isa()
    if request.param in GPUS:
        _core.kernels.set_device(request.param)
    else:
        _core.set_isa(request.param)
    yield request.param
    _core.kernels.set_device("cpu")
    _core.set_isa(before)


@pytest.fixture(params=["cpu", *GPUS])
def device(request, monkeypatch):
    """Each device in turn; the networks of network_cases are on it."""
    monkeypatch.setattr("network_cases.DEVICE", request.param)
    return request.param


@pytest.fixture
def launches():
    """launches(call): how many kernels it runs, which the GPU in software counts."""
    if not (GPUS and dr.info()["cuda"]["emulated"]):
        pytest.skip("no GPU in software")
    kernels_run = ctypes.CDLL(_core.__file__).deltarule_shim_kernels_run
    kernels_run.restype = ctypes.c_long

    def count(call):
        before = kernels_run()
        call()
        return kernels_run() - before

    return count


@pytest.fixture(scope="session")
def mma(tmp_path_factory):
    """The products by mma.sync."""
    return _built(tensor_cores.Mma, tmp_path_factory)


@pytest.fixture(scope="session")
def hopper(tmp_path_factory):
    """The products by wgmma."""
    return _built(tensor_cores.Hopper, tmp_path_factory)


def _built(kind, folders):
    library = kind.build(folders.mktemp(kind.NAME))
    if library is None:
        pytest.skip("no g++")
    return kind(library)


@pytest.fixture
def threads():
    """set_num_threads, undone at the end."""
    before = _core.num_threads()
    yield _core.set_num_threads
    _core.set_num_threads(before)


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Run the command line in an empty folder: (exit code, stdout, stderr)."""
    from deltarule.cli import main

    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def mistake(run):
    """Run the command line and expect exit code 2 and one line on stderr that matches."""

    def call(match, *arguments):
        code, _, error = run(*arguments)
        assert code == 2, error
        assert error.count("\n") == 1, error
        assert re.search(match, error), error

    return call
