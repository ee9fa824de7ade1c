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
    fine_tuning = {"lr": 0.1, "batch_size": 20, "epochs": 40, "patience": 10}
    pretraining = {"batch_size": 100, "momentum": 0.5}
    full = {
        "hidden": [1000, 1000, 1000],
        "train": 50000,
        "validation": 10000,
        "models": {
            "shallow": {"fit": {**fine_tuning, "epochs": 100}},
            "none": {"fit": {**fine_tuning, "epochs": 100, "patience": 20}},
            "supervised": {"pretrain": {**pretraining, "lr": 0.1, "epochs": 5}, "fit": fine_tuning},
            "autoencoder": {"pretrain": {**pretraining, "lr": 0.05, "epochs": 10}, "fit": fine_tuning},
            "denoising": {
                "pretrain": {**pretraining, "lr": 0.05, "epochs": 20, "corruption": [0.1, 0.2, 0.3]},
                "fit": fine_tuning,
            },
            "dbn": {"pretrain": {**pretraining, "lr": 0.1, "epochs": 20}, "fit": fine_tuning},
        },
        "few": {
            "labels": [100, 300, 1000, 3000],
            "validation": 2000,
            "fit": {"lr": 0.1, "batch_size": 10, "epochs": 200, "patience": 30},
        },
        "codes": {
            "hidden": [500, 250, 2],
            "pretrain": {**pretraining, "lr": 0.1, "epochs": 5},
            "fit": {"lr": 1e-3, "batch_size": 100, "epochs": 10},
        },
    }
    if not quick:
        return full
    return full


EXPERIMENT = Experiment(
    name="bengio2006",
    title="Greedy layer-wise training of deep networks",
    reference="Y. Bengio, P. Lamblin, D. Popovici, H. Larochelle, NIPS 2006",
    settings=settings,
    cells=all_cells,
    report=make_report,
)
