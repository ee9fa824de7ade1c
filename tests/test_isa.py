"""The choice of the instruction set: by the machine, by DELTARULE_ISA, by name."""

from __future__ import annotations

import pytest
from deltarule import _core
from test_threads import python

SUPPORTED = [isa["name"] for isa in _core.isas() if isa["supported"]]


def test_the_list_ends_with_scalar_which_every_machine_has():
    assert _core.isas()[-1]["name"] == "scalar"
    assert "scalar" in SUPPORTED


@pytest.mark.parametrize("name", SUPPORTED)
def test_environment_forces_one(name):
    done = python("from deltarule import _core; print(_core.isa())", DELTARULE_ISA=name)
    assert done.stdout == f"{name}\n", done.stderr


def test_without_environment_the_best_supported_one_is_used():
    done = python("from deltarule import _core; print(_core.isa())", DELTARULE_ISA="")
    assert done.stdout == f"{SUPPORTED[0]}\n", done.stderr


def test_unknown_environment_lists_the_choices():
    done = python(
        "import numpy as np, deltarule as dr\ntry: dr.exp(np.ones(3))\nexcept ValueError as e: print(e)",
        DELTARULE_ISA="neon9",
    )
    assert done.stdout == f"DELTARULE_ISA is 'neon9'; choose one of: {', '.join(SUPPORTED)}\n", done.stderr


def test_unknown_name_lists_the_choices():
    with pytest.raises(ValueError, match=r"set_isa: name is 'sse'; choose one of: .*scalar"):
        _core.set_isa("sse")


def test_features_agree_with_the_kernel(tmp_path):
    """What cpuid told us is what the operating system lists."""
    try:
        with open("/proc/cpuinfo") as file:
            flags = set(next(line for line in file if line.startswith("flags")).split())
    except (OSError, StopIteration):
        pytest.skip("no flags in /proc/cpuinfo")
    wanted = {
        "avx2": {"avx2", "fma"},
        "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
        "avx512_bf16": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"},
        "amx": {"amx_tile", "amx_bf16", "avx512_bf16"},
        "amx_emulated": {"avx512_bf16"},
        "scalar": set(),
    }
    for isa in _core.isas():
        assert isa["supported"] == (wanted[isa["name"]] <= flags), isa["name"]
