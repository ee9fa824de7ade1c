"""step: every optimiser's update of a list of tensors against the oracle, on every instruction set; clip, on a GPU."""

from __future__ import annotations

import itertools

import kernel_cases as cases
import numpy as np
import pytest
import reference
import tolerance
from conftest import GPUS
from deltarule import _core

kernels = _core.kernels

SLOTS = {"sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2, "adamw": 2}
PLAIN = {
    "lr": 0.01,
    "momentum": 0.9,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.0,
    "step": 1,
}
DECAYED = {
    "lr": 0.125,
    "momentum": 0.5,
    "beta1": 0.8,
    "beta2": 0.95,
    "eps": 1e-3,
    "weight_decay": 0.25,
    "step": 7,
}


# Sizes of the tensors of a list: empty ones, those of one block of a GPU's threads and a little more, more tensors than
# one launch of it takes, and lists that the CPU's threads share, whether or not one tensor alone is large.
LISTS = {
    "mixed": [65, 0, 1, 300, 0, 7, 511, 512, 513, 1023, 1024, 1025, 17, 0],
    "empty": [0, 0],
    "none": [],
    "64": [3] * 64,
    "65": [3] * 65,
    "many": [i % 23 for i in range(150)],
    "large": [40_000, 3, 16_384, 0, 16_385],
    "small together": [4_099] * 20,
}


def state(name, n, dtype, start=0, seed=1):
    rng = np.random.default_rng(n + seed)
    guards = [cases.Guarded(n, dtype, start + i) for i in range(1 + SLOTS[name])]
    for i, guard in enumerate(guards):
        guard.array[...] = rng.normal(0, 1, n) if i < 2 else rng.uniform(0.1, 1, n)
    return guards, cases.moved(rng.normal(0, 1, n).astype(dtype), start)


def update(name, guards, g, grad_scale=1.0, **parameters):
    return update_list(name, [(guards, g, True)], grad_scale, **parameters)[0]


def update_list(name, tensors, grad_scale=1.0, **parameters):
    """tensors: (guards, gradient, whether it decays) each."""
    given = [((*(x.array for x in guards), None, None), g, decays) for guards, g, decays in tensors]
    kernels.step(
        name,
        [(w, g, m, v, decays) for (w, m, v, *_), g, decays in given],
        grad_scale=grad_scale,
        **parameters,
    )
    return [[guard.check() for guard in guards] for guards, _, _ in tensors]


def list_of(name, sizes, dtype):
    """Tensors that start at and beside boundaries of 16 bytes; every third does not decay."""
    starts = itertools.cycle(cases.STARTS)
    tensors = [(*state(name, n, dtype, next(starts), seed), seed % 3 != 1) for seed, n in enumerate(sizes)]
    return tensors, [[guard.array.copy() for guard in guards] for guards, _, _ in tensors]


def check_list(name, tensors, before, grad_scale, parameters):
    for (guards, g, decays), old in zip(tensors, before, strict=True):
        own = parameters | {"weight_decay": parameters["weight_decay"] * decays}
        for guard, want, first in zip(guards, expected(name, old, g, grad_scale, own), old, strict=True):
            cases.within(guard.check(), want, tolerance.stepped(want, first, guard.array.dtype))


def expected(name, arrays, g, grad_scale, parameters):
    w, m, v = [reference.wide(a) for a in arrays] + [0] * (2 - SLOTS[name])
    # The hyper-parameters as float64, like the kernel takes them.
    return reference.OPTIMIZERS[name](w, reference.wide(g) * grad_scale, m, v, **parameters)[
        : 1 + SLOTS[name]
    ]


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", kernels.optimizer_names)
def test_one_update(isa, name, dtype):
    for n, start, parameters in itertools.product(cases.SIZES, cases.STARTS, (PLAIN, DECAYED)):
        guards, g = state(name, n, dtype, start)
        before = [guard.array.copy() for guard in guards]
        after = update(name, guards, g, 0.5, **parameters)
        for got, want, old in zip(after, expected(name, before, g, 0.5, parameters), before, strict=True):
            cases.within(got, want, tolerance.stepped(want, old, dtype))


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", kernels.optimizer_names)
@pytest.mark.parametrize("sizes", LISTS)
def test_lists(isa, sizes, name, dtype):
    tensors, before = list_of(name, LISTS[sizes], dtype)
    update_list(name, tensors, 0.5, **DECAYED)
    check_list(name, tensors, before, 0.5, DECAYED)


@pytest.mark.parametrize("name", kernels.optimizer_names)
def test_a_list_has_the_bits_of_its_tensors_one_by_one(isa, name):
    tensors, _ = list_of(name, LISTS["mixed"], np.float32)
    single, _ = list_of(name, LISTS["mixed"], np.float32)
    update_list(name, tensors, 0.5, **DECAYED)
    for tensor in single:
        update_list(name, [tensor], 0.5, **DECAYED)
    for (guards, _, _), (others, _, _) in zip(tensors, single, strict=True):
        assert [cases.bits(x.array) for x in guards] == [cases.bits(x.array) for x in others]


@pytest.mark.parametrize("name", kernels.optimizer_names)
def test_many_updates(isa, name):
    """A hundred steps on a quadratic bowl stay with the oracle, which runs on its own."""
    guards, _ = state(name, 50, np.float64)
    for guard in guards[1:]:
        guard.array[...] = 0
    w, m, v = (
        reference.wide(guards[0].array.copy()),
        reference.wide(np.zeros(50)),
        reference.wide(np.zeros(50)),
    )
    for t in range(1, 101):
        parameters = PLAIN | {"step": t, "weight_decay": 0.01}
        update(name, guards, 2 * guards[0].array, **parameters)
        w, m, v = reference.OPTIMIZERS[name](w, 2 * w, m, v, **parameters)
    cases.within(guards[0].check(), w, 100 * tolerance.stepped(w, w, np.float64))
    assert np.abs(w).max() < 3


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", kernels.optimizer_names)
def test_the_same_bits_for_every_number_of_threads(isa, threads, name, dtype):
    found = []
    for count in (1, 2, 3):
        threads(count)
        guards, g = state(name, 300_007, dtype)
        before = [guard.array.copy() for guard in guards]
        found.append([cases.bits(a) for a in update(name, guards, g, **DECAYED)])
    assert found[0] == found[1] == found[2]
    for guard, want, old in zip(guards, expected(name, before, g, 1.0, DECAYED), before, strict=True):
        cases.within(guard.check(), want, tolerance.stepped(want, old, dtype))


@pytest.mark.parametrize("sizes", ["large", "small together"])
def test_lists_have_the_same_bits_for_every_number_of_threads(isa, threads, sizes):
    found = []
    for count in (1, 2, 3):
        threads(count)
        tensors, before = list_of("adam", LISTS[sizes], np.float32)
        found.append([[cases.bits(x) for x in arrays] for arrays in update_list("adam", tensors, **DECAYED)])
    assert found[0] == found[1] == found[2]
    check_list("adam", tensors, before, 1.0, DECAYED)


@pytest.mark.parametrize("name", kernels.optimizer_names)
def test_the_first_update_from_zero_slots(isa, name):
    """Adam's first step is lr sign(g) whatever g's size: the bias correction."""
    guards, _ = state(name, 5, np.float64)
    for guard in guards[1:]:
        guard.array[...] = 0
    before = guards[0].array.copy()
    g = np.array([1e-3, -1e-3, 5.0, -200.0, 0.0])
    update(name, guards, g, **PLAIN)
    moved = (before - guards[0].check()) / 0.01
    want = np.sign(g) if name.startswith("adam") else g * (1.9 if name == "nesterov" else 1.0)
    assert np.all(np.abs(moved - want) <= 1e-4 * np.abs(want) + 1e-12)


def test_nan_in_a_gradient_reaches_the_weights(isa):
    for name in kernels.optimizer_names:
        guards, g = state(name, 20, np.float32)
        g[[3, 17]] = np.nan
        w = update(name, guards, g, **PLAIN)[0]
        assert np.isnan(w[[3, 17]]).all()
        assert np.isnan(w).sum() == 2


# clip: a device that queues its work has it.


def gradients(sizes, dtype, size=1.0):
    rng, starts = np.random.default_rng(7), itertools.cycle(cases.STARTS)
    return [cases.moved((size * rng.normal(0, 1, n)).astype(dtype), next(starts)) for n in sizes]


@pytest.fixture
def gpu():
    if not GPUS:
        pytest.skip("no GPU")
    kernels.set_device(GPUS[0])
    yield
    kernels.set_device("cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("sizes", [*LISTS, "parts"])
def test_clip(gpu, sizes, dtype):
    # Around what a block sums, twice that with tails.
    lengths = LISTS.get(sizes, [2047, 2048, 2049, 4095, 4096, 4097, 9001])
    # Float32's largest squares are beyond it.
    for size in (1.0, 1e-3, 1e30):
        given = gradients(lengths, dtype, size)
        norm = np.sqrt(sum((reference.wide(g) ** 2).sum() for g in given))
        for clip_norm in (0.3 * norm, 0.999 * norm, 1.001 * norm, 1e-3):
            want = clip_norm / norm if norm > clip_norm else 1.0
            got = kernels.clip(given, float(clip_norm), scale=7.0)
            cases.within(got, want, tolerance.rounded(32, want, np.float64))


@pytest.mark.gpu
def test_clip_of_nothing_and_after_the_end(gpu):
    zero = [np.zeros(3000, np.float32), np.zeros(3, np.float32)]
    assert kernels.clip(zero, 0.5, scale=7.0) == 1.0
    assert kernels.clip([], 0.5, scale=7.0) == 1.0
    assert kernels.clip(gradients([90], np.float32), 0.5, scale=7.0, stopped=True) == 7.0


def test_the_cpu_has_no_clip():
    assert kernels.clip([np.ones(3)], 0.5) is None


@pytest.mark.gpu
def test_launches(gpu, launches):
    """One for 64 tensors that are not empty, whatever their sizes."""
    for sizes, wanted in (("mixed", 1), ("64", 1), ("65", 2), ("many", 3), ("large", 1), ("none", 0)):
        tensors, _ = list_of("adam", LISTS[sizes], np.float32)
        assert launches(lambda t=tensors: update_list("adam", t, **DECAYED)) == wanted
        given = gradients(LISTS[sizes], np.float32)
        assert launches(lambda g=given: kernels.clip(g, 0.5)) == max(wanted, 1)
