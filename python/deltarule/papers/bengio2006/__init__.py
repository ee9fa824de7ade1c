"""Bengio, Lamblin, Popovici & Larochelle 2006: deep nets of sigmoid units learn when each layer is trained first.

MNIST, 50,000 images to train on, 10,000 to choose by, 10,000 to test on; three hidden layers. Every training stops and
is chosen by the error on the validation images, and so were the settings below: the test images are looked at once,
at the end.
"""

from __future__ import annotations

from typing import Any

from ..experiment import Experiment
from .cells import all_cells
from .report import make_report

PRETRAINED = ("supervised", "autoencoder", "denoising", "dbn")
MODELS = ("shallow", "none", *PRETRAINED)


def settings(quick: bool) -> dict[str, Any]:
    """Sizes, and how each model is pre-trained and fine-tuned."""
    return QUICK if quick else FULL


FINE_TUNING = {"lr": 0.3, "batch_size": 20, "epochs": 40, "patience": 8}
PRETRAINING = {"batch_size": 100, "momentum": 0.5}
FULL: dict[str, Any] = {
    "quick": False,
    "hidden": [800, 800, 800],
    "train": 50000,
    "validation": 10000,
    "models": {
        "shallow": {"fit": {**FINE_TUNING, "epochs": 80}},
        "none": {"fit": {**FINE_TUNING, "epochs": 60, "patience": 15}},
        "supervised": {
            "pretrain": {"batch_size": 20, "momentum": 0.5, "lr": 0.25, "epochs": 3},
            "fit": FINE_TUNING,
        },
        "autoencoder": {"pretrain": {**PRETRAINING, "lr": 0.05, "epochs": 10}, "fit": FINE_TUNING},
        "denoising": {
            "pretrain": {**PRETRAINING, "lr": 0.05, "epochs": 20, "corruption": [0.1, 0.2, 0.3]},
            "fit": FINE_TUNING,
        },
        "dbn": {
            "pretrain": {"batch_size": 20, "momentum": 0.5, "lr": 0.05, "epochs": 15},
            "fit": FINE_TUNING,
        },
    },
    "few": {
        "labels": [100, 300, 1000, 3000],
        "validation": 2000,
        "fit": {
            "shallow": {"lr": 1.0, "batch_size": 10, "epochs": 150, "patience": 30},
            "none": {"lr": 1.0, "batch_size": 10, "epochs": 200, "patience": 80},
            "dbn": {"lr": 0.1, "batch_size": 10, "epochs": 150, "patience": 30},
        },
    },
    "codes": {
        "hidden": [500, 250, 2],
        "pretrain": {**PRETRAINING, "lr": 0.1, "epochs": 5},
        "fit": {"lr": 1e-3, "batch_size": 100, "epochs": 10},
    },
}


def _faster(model: dict[str, Any]) -> dict[str, Any]:
    """The same model for a fifth of the images: at larger rates, for the steps are fewer."""
    return {**model, "fit": {**model["fit"], "lr": 0.5}}


QUICK: dict[str, Any] = {
    **FULL,
    "quick": True,
    "hidden": [400, 400, 400],
    "train": 10000,
    "validation": 5000,
    "models": {name: _faster(model) for name, model in FULL["models"].items()},
    "few": {**FULL["few"], "labels": [100, 1000]},
}


EXPERIMENT = Experiment(
    name="bengio2006",
    title="Greedy layer-wise training of deep networks",
    reference="Y. Bengio, P. Lamblin, D. Popovici, H. Larochelle, NIPS 2006",
    settings=settings,
    cells=all_cells,
    report=make_report,
)
