"""Big plain nets on digits that are deformed afresh in every epoch (Ciresan, Meier, Gambardella, Schmidhuber 2010).

One cell trains one net with one seed. Validation is on the training images as they are; the test error reported is that
of the epoch with the lowest validation error, and the test images choose nothing.
"""

from __future__ import annotations

from typing import Any

from ..experiment import Experiment
from .cells import all_cells
from .report import make_report


def settings(quick: bool) -> dict[str, Any]:
    """Net 1 in mini-batches, chosen on held-out images: docs/ciresan2010.md has the trials."""
    return {
        "nets": [1],
        "epochs": 80 if quick else 600,
        "batch_size": 100,
        "optimizer": "adam",
        "rate": 1e-3 if quick else 3e-4,
        "last_rate": 1e-5 if quick else 3e-6,
        "schedule": "exponential" if quick else "cosine",
        "init": 0.05,
        "loss": "softmax_cross_entropy",
        "validation": 10_000 if quick else None,  # images; None: all
        "rotation": 15.0,
        "shear": 15.0,
        "scale": 0.15,
        "sigma": 5.0,
        "alpha": 36.0,
        "angle_factor": {"1": 0.5, "7": 0.5},
    }


EXPERIMENT = Experiment(
    name="ciresan2010",
    title="Big plain nets and deformed digits",
    reference="D. Ciresan, U. Meier, L. Gambardella, J. Schmidhuber, Deep Big Simple Neural Nets Excel on Handwritten "
    "Digit Recognition, Neural Computation 22(12), 2010",
    settings=settings,
    cells=all_cells,
    report=make_report,
)
