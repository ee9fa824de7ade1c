"""The thread pool: settings, fork, use from several Python threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import deltarule as dr
import numpy as np
import pytest
from deltarule import _core, _threads

pytestmark = pytest.mark.sanitize


@pytest.fixture
def threads():
    """The setter of the number of threads; the old number comes back afterwards."""
    before = _core.num_threads()
    yield _core.set_num_threads
    _core.set_num_threads(before)


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_set_num_threads_takes_effect(threads):
    threads(3)
    assert _core.num_threads() == 3


@pytest.mark.parametrize("n", [0, -1, 5000])
def test_set_num_threads_rejects(threads, n):
    with pytest.raises(ValueError, match=f"n is {n}; a whole number from 1 to 4096 is wanted"):
        threads(n)


def test_environment_sets_the_number():
    done = python("from deltarule import _core; print(_core.num_threads())", DELTARULE_NUM_THREADS="3")
    assert done.stdout == "3\n", done.stderr


@pytest.mark.parametrize("text", ["0", "two", "1.5"])
def test_wrong_environment_is_one_clear_error(text):
    done = python(
        "import numpy as np, deltarule as dr\ntry: dr.exp(np.ones(3))\nexcept ValueError as e: print(e)",
        DELTARULE_NUM_THREADS=text,
    )
    assert done.stdout == f"DELTARULE_NUM_THREADS is '{text}'; a whole number from 1 to 4096 is wanted\n", (
        done.stderr
    )


@pytest.mark.parametrize(
    ("environment", "number"),
    [
        ({}, 3),
        ({"OMP_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": " 2,1"}, 2),
        ({"OMP_NUM_THREADS": "2", "DELTARULE_NUM_THREADS": ""}, 2),
        ({"OMP_NUM_THREADS": "2", "DELTARULE_NUM_THREADS": "4"}, 3),  # the core's own affair
        ({"OMP_NUM_THREADS": "100000"}, 3),
        ({"OMP_NUM_THREADS": "0"}, 3),
        ({"OMP_NUM_THREADS": "-1"}, 3),
        ({"OMP_NUM_THREADS": "all"}, 3),
    ],
)
def test_openmp_s_number_is_the_most(threads, environment, number):
    threads(3)
    _threads.heed_openmp(environment)
    assert _core.num_threads() == number


def test_the_import_heeds_openmp_s_number():
    code = "import deltarule; print(deltarule.num_threads())"
    for ours, number in (("", 1), ("3", 3)):
        done = python(code, DELTARULE_NUM_THREADS=ours, OMP_NUM_THREADS="1")
        assert done.stdout == f"{number}\n", done.stderr


def test_affinity_is_respected():
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system has no affinity masks")
    core = min(os.sched_getaffinity(0))
    done = python(
        f"import os; os.sched_setaffinity(0, {{{core}}}); from deltarule import _core; print(_core.num_threads())"
    )
    assert done.stdout == "1\n", done.stderr


FORK = """
import os, numpy as np, deltarule as dr
from deltarule import _core
_core.set_num_threads(3)
a = np.random.default_rng(0).standard_normal((300, 300)).astype(np.float32)
before = np.asarray(dr.matmul(a, a))  # the pool is running now
child = os.fork()
if child == 0:
    same = np.array_equal(np.asarray(dr.matmul(a, a)), before) and _core.num_threads() == 3
    os._exit(0 if same else 1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0
assert np.array_equal(np.asarray(dr.matmul(a, a)), before)
print("both")
"""


def test_pool_survives_fork():
    done = python(FORK)
    assert done.stdout == "both\n", done.stderr


def test_several_python_threads_get_their_own_results(threads):
    threads(2)
    rng = np.random.default_rng(1)
    inputs = [rng.standard_normal((150, 150)).astype(np.float32) for _ in range(4)]
    wanted = [np.asarray(dr.matmul(a, a)) for a in inputs]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(30):
            if not np.array_equal(np.asarray(dr.matmul(inputs[i], inputs[i])), wanted[i]):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_changing_the_number_between_calls(threads):
    a = np.random.default_rng(2).standard_normal((257, 129)).astype(np.float32)
    results = []
    for n in (1, 2, 3, 2, 1):
        threads(n)
        results.append(np.asarray(dr.matmul(a, a.T)))
    assert all(np.array_equal(result, results[0]) for result in results)
