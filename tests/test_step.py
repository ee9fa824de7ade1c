"""step: every optimiser's update against the oracle, on every instruction set."""

from __future__ import annotations

import itertools

import kernel_cases as cases
import numpy as np
import pytest
import reference
import tolerance
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


def state(name, n, dtype, start=0):
    rng = np.random.default_rng(n + 1)
    guards = [cases.Guarded(n, dtype, start + i) for i in range(1 + SLOTS[name])]
    for i, guard in enumerate(guards):
        guard.array[...] = rng.normal(0, 1, n) if i < 2 else rng.uniform(0.1, 1, n)
    return guards, cases.moved(rng.normal(0, 1, n).astype(dtype), start)


def update(name, guards, g, grad_scale=1.0, **parameters):
    arrays = [guard.array for guard in guards] + [None, None]
    kernels.step(name, arrays[0], g, arrays[1], arrays[2], grad_scale=grad_scale, **parameters)
    return [guard.check() for guard in guards]


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
