"""How many threads there are after the import, where ``DELTARULE_NUM_THREADS`` does not say."""

from __future__ import annotations

from collections.abc import Mapping

from deltarule import _core


def heed_openmp(environment: Mapping[str, str]) -> None:
    """At most ``OMP_NUM_THREADS``, as NumPy and scikit-learn do; joblib sets it in its worker processes.

    Of a list, "4,2", the first counts; what is no number from 1 on says nothing.
    """
    most = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if not environment.get("DELTARULE_NUM_THREADS") and most.isdecimal() and int(most) > 0:
        _core.set_num_threads(min(int(most), _core.num_threads()))
