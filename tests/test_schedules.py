"""Schedules: their formulas at the places where they change, and what they refuse."""

from __future__ import annotations

import math
from functools import partial

import deltarule as dr
import numpy as np
import pytest
from deltarule import nn
from deltarule.nn.schedules import describe


def test_values():
    assert [nn.Constant()(epoch) for epoch in (0, 0.5, 100)] == [1, 1, 1]
    assert [nn.Step(3, 0.5)(epoch) for epoch in (0, 2.99, 3, 6)] == [1, 1, 0.5, 0.25]
    assert nn.Exponential(0.9)(0) == 1
    assert nn.Exponential(0.9)(2.5) == pytest.approx(0.9**2.5, rel=1e-15)
    assert [nn.Cosine(10)(epoch) for epoch in (0, 5, 10, 11)] == pytest.approx([1, 0.5, 0, 0], abs=1e-15)
    assert nn.Cosine(4, end=0.2)(1) == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2, rel=1e-15)


def test_warmup_is_continuous_and_then_starts_at_its_own_zero():
    schedule = nn.Warmup(2, then=nn.Step(1, 0.5), start=0.1)
    assert [schedule(epoch) for epoch in (0, 1, 2, 3)] == pytest.approx([0.1, 0.55, 1, 0.5])
    assert schedule(2 - 1e-9) == pytest.approx(1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Cosine("10"), "Cosine: epochs is '10'; wanted a number"),
        (lambda: nn.Cosine(10, None), "Cosine: end is None; wanted a number"),
        (lambda: nn.Step(3, "0.5"), "Step: factor is '0.5'; wanted a number"),
        (lambda: nn.Exponential([0.9]), r"Exponential: factor is \[0.9\]; wanted a number"),
        (lambda: nn.Warmup("2"), "Warmup: epochs is '2'; wanted a number"),
        (
            lambda: nn.Warmup(1, then=0.5),
            "Warmup: then is 0.5; wanted a function of the epoch, such as nn.Cos",
        ),
        (lambda: nn.Warmup(1, nn.Cosine), "Warmup: then is the class Cosine; wanted a function of the epoch"),
    ],
)
def test_what_is_no_number(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Step(0, 0.5), "Step: every is 0; wanted more than 0"),
        (lambda: nn.Step(1, 0), "Step: factor is 0"),
        (lambda: nn.Step(1, math.nan), "Step: factor is nan"),
        (lambda: nn.Exponential(-1), "Exponential: factor is -1"),
        (lambda: nn.Cosine(0), "Cosine: epochs is 0"),
        (lambda: nn.Cosine(5, end=-0.1), "Cosine: end is -0.1"),
        (lambda: nn.Warmup(0), "Warmup: epochs is 0"),
        (lambda: nn.Warmup(1, start=2), "Warmup: start is 2; wanted 0 to 1"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def scaled(epoch: float, factor: float = 1) -> float:
    return factor


def other(epoch: float) -> float:
    return 1


def linear(epoch: float) -> float:
    return 1 - epoch / 100


def test_descriptions_are_equal_for_equal_schedules():
    assert describe(nn.Warmup(1, nn.Cosine(9))) == describe(nn.Warmup(1, nn.Cosine(9)))
    assert describe(nn.Cosine(9)) != describe(nn.Cosine(10))
    assert describe(None) == describe(nn.Constant())
    assert describe(linear).endswith("linear")
    for nine in (np.float64(9.0), np.array(9.0), dr.array(9.0)):
        assert describe(nn.Cosine(nine)) == describe(nn.Cosine(9.0))


def test_descriptions_hold_no_addresses_and_partials_differ():
    assert describe(nn.Warmup(2, then=linear)) == f"Warmup(epochs=2, then={describe(linear)}, start=0.01)"
    fast, slow = partial(scaled, factor=0.5), partial(scaled, factor=2)
    assert describe(fast) == describe(partial(scaled, factor=0.5)) != describe(slow)
    assert describe(partial(scaled, 1)) != describe(partial(other, 1))
