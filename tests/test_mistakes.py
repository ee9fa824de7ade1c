"""Arguments of the wrong kind: one line that names the function, what came and what was wanted."""

from __future__ import annotations

import re
import types

import deltarule as dr
import numpy as np
import pytest
from deltarule import _core, _mistakes
from deltarule.data import augment

A = dr.zeros((2, 2), np.float32)
IMAGES = np.zeros((3, 28, 28), np.float32)
WHOLE, AN_ARRAY = "a whole number", "an array"


class Own(_core.Deformation):
    pass


CALLS = {
    "threads": (lambda: dr.set_num_threads(1.5), f"set_num_threads: n is 1.5; wanted {WHOLE}"),
    "many threads": (lambda: dr.set_num_threads(2**40), f"set_num_threads: n is {2**40}; wanted within its bounds"),
    "isa": (lambda: dr.set_isa(3), "set_isa: name is 3; wanted a name"),
    "devices": (lambda: dr.devices(1), "devices: arguments are 1; wanted none"),
    "shape": (lambda: dr.zeros(None), "zeros: shape is None; wanted a whole number or several"),
    "shape of str": (lambda: dr.zeros("a"), "zeros: shape is 'a'; wanted a whole number or several"),
    "part of shape": (lambda: dr.zeros((2, 1.5)), "zeros: shape is (2, 1.5); wanted a whole number or several"),
    "device": (lambda: dr.zeros(2, device=3), "zeros: device is 3; wanted a name"),
    "exp": (lambda: dr.exp(None), f"exp: x is None; wanted {AN_ARRAY}"),
    "sum": (lambda: dr.sum(None), f"sum: x is None; wanted {AN_ARRAY}"),
    "axis": (lambda: dr.sum(A, axis=1.5), "sum: axis is 1.5; wanted a whole number or several, or None"),
    "method's axis": (lambda: A.max("x"), "max: axis is 'x'; wanted a whole number or several, or None"),
    "matmul": (lambda: dr.matmul(None, 3), f"matmul: a is None; wanted {AN_ARRAY}"),
    "precision": (lambda: dr.matmul(A, A, precision=3), "matmul: precision is 3; wanted a name"),
    "softmax": (lambda: dr.softmax([1.0, 2.0], "a"), f"softmax: axis is 'a'; wanted {WHOLE}"),
    "activation": (lambda: dr.activate(A, 3), "activate: activation is 3; wanted a name"),
    "slope": (lambda: dr.activate(A, "elu", "x"), "activate: slope is 'x'; wanted a number, or None"),
    "expand_dims": (lambda: dr.expand_dims(None, 0), f"expand_dims: a is None; wanted {AN_ARRAY}"),
    "broadcast_to": (lambda: dr.broadcast_to(None, 2), f"broadcast_to: array is None; wanted {AN_ARRAY}"),
    "to": (lambda: A.to(3), "to: device is 3; wanted a name"),
    "to by name": (lambda: A.to(device=3), "to: device is 3; wanted a name"),
    "astype": (lambda: A.astype(None), "astype: dtype is None; wanted a dtype"),
    "missing": (lambda: A.swapaxes(0), "swapaxes: axis2 is missing; wanted axis1, axis2"),
    "too many": (lambda: A.swapaxes(0, 1, A), "swapaxes: arguments are 0, 1, an array (2, 2) of float32; "
                 "wanted axis1, axis2"),
    "no such": (lambda: A.to("cpu", now=True), "to: now is no argument of it; wanted device"),
    "twice": (lambda: A.to("cpu", device="cpu"), "to: device is named twice; wanted device"),
    "seed": (lambda: augment.Affine(15)(IMAGES, seed=2**70), f"deform: seed is {2**70}; wanted {WHOLE} below 2^63"),
    "first": (lambda: augment.Affine(15)(IMAGES, seed=1, first=1.5), f"deform: first is 1.5; wanted {WHOLE}"),
    "copy": (lambda: A.__dlpack__(max_version=(1, 0), copy="x"), "__dlpack__: copy is 'x'; "
             "wanted True or False, or None"),
    "version": (lambda: A.__dlpack__(max_version=(1, "x")), "__dlpack__: max_version is (1, 'x'); "
                "wanted two whole numbers, or None"),
    "mapping": (lambda: _core.Network(2, "squared_error").set_slots(3), "set_slots: arguments are 3; "
                "wanted slots: Mapping[str, Array]"),
    "subclass": (lambda: _core.deform(IMAGES, 28, 28, Own(), 1.5, 1), f"deform: seed is 1.5; wanted {WHOLE}"),
    "attribute": (lambda: setattr(A.flags, "writeable", "x"), "the attribute is 'x'; wanted True or False"),
    "constructor": (lambda: _core.Deformation("x"), "Deformation: rotation is 'x'; wanted a number"),
    "class": (lambda: _core.deform(IMAGES, 28, 28, "x", 1, 1), "deform: deformation is 'x'; wanted a Deformation"),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_one_line(call):
    mistake, line = CALLS[call]
    with pytest.raises(TypeError) as caught:
        mistake()
    assert str(caught.value) == line


def bound(owner, seen):
    """Every function that pybind11 made, in the module, its submodules and classes."""
    for name, entry in vars(owner).items():
        if id(entry) in seen:
            continue
        seen.add(id(entry))
        if isinstance(entry, (types.ModuleType, type)):
            if (getattr(entry, "__module__", None) or entry.__name__).startswith("deltarule"):
                yield from bound(entry, seen)
        elif callable(entry) and (getattr(entry, "__doc__", None) or "").startswith(f"{name}("):
            yield f"{owner.__name__}.{name}", getattr(owner, name)


FUNCTIONS = dict(bound(_core, set()))


def test_there_are_functions():
    assert len(FUNCTIONS) > 100


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_refuses_in_one_line(name):
    doc = FUNCTIONS[name].__doc__.splitlines()[0]
    if "*args" in doc:
        pytest.skip("takes anything")
    with pytest.raises(Exception) as caught:  # noqa: PT011 (whatever it is)
        FUNCTIONS[name](*[object()] * 40)
    assert "\n" not in str(caught.value)
    assert "incompatible" not in str(caught.value)


def signatures(function):
    return re.findall(r"^(?:\d+\. )?\w+(\(.*\) -> .*)$", function.__doc__, re.MULTILINE)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_kind_of_argument_is_known_or_never_blamed(name):
    for signature in signatures(FUNCTIONS[name]):
        for parameter in _mistakes._parameters(signature) if "*args" not in signature else ():
            known = parameter.kind in _mistakes._KINDS or re.fullmatch(r"\w+(\.\w+)*", parameter.kind)
            assert known or parameter.takes(object()), parameter
            assert parameter.kind != "object" or parameter.takes(A)


class Unshowable:
    def __init__(self, error):
        self.error = error

    def __repr__(self):
        raise self.error


def test_what_cannot_be_shown_is_a_type_error_still():
    with pytest.raises(TypeError, match="incompatible function arguments"):
        A.to(Unshowable(RuntimeError("no text")))


def test_control_c_comes_through(monkeypatch):
    monkeypatch.setattr(_mistakes, "shown", lambda value: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        A.to(3)


def test_other_errors_stay_as_they_are():
    with pytest.raises(ValueError, match="set_num_threads: n is 0; a whole number from 1 to 4096 is wanted"):
        dr.set_num_threads(0)
    with pytest.raises(TypeError, match=r"^dtype is complex128; an Array has"):
        dr.zeros(2, complex)


def test_long_values_are_cut():
    with pytest.raises(TypeError) as caught:
        A.to(["x"] * 100)
    assert str(caught.value).startswith("to: device is ['x', 'x'")
    assert len(str(caught.value)) < 120


def test_older_names_of_the_types():
    """pybind11 before version 3 writes int and Optional."""
    refusal = "f(): incompatible function arguments. The following argument types are supported:\n"
    refusal += "    1. (n: int, x: Optional[deltarule._core.Array] = None, s: str = 'a, b') -> None\n\nInvoked with: "
    assert _mistakes.explain(refusal, (1.5,), {}) == f"f: n is 1.5; wanted {WHOLE}"
    assert _mistakes.explain(refusal, (1, None, 2), {}) == "f: s is 2; wanted a name"
