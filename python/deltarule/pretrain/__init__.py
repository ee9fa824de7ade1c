"""Greedy layer-wise pre-training: each layer of a net learns on the frozen codes of the layers below it.

`greedy` trains the layers of an `nn.Network` one after the other, without labels as `RBM` or `AutoEncoder`, or with
them as `Supervised`, and leaves the weights in the net, which `net.fit` then fine-tunes. `unroll` turns the trained
layers into a deep auto-encoder.

Refs: Hinton, Osindero & Teh, "A fast learning algorithm for deep belief nets", 2006; Bengio, Lamblin, Popovici &
Larochelle, "Greedy layer-wise training of deep networks", 2006.

>>> import numpy as np
>>> from deltarule import nn, pretrain
>>> x = np.eye(8, dtype=np.float32).repeat(20, 0)
>>> net = nn.mlp([8, 6, 4, 8], "sigmoid", seed=0)
>>> trained = pretrain.greedy(net, x, pretrain.RBM(), optimizer=nn.SGD(0.5), epochs=20, batch_size=10)
>>> [layer.epochs[-1]["loss"] < layer.epochs[0]["loss"] for layer in trained.layers]
[True, True]
"""

from .autoencoder import codes, reconstruct, unroll
from .methods import RBM, AutoEncoder, Supervised
from .record import PretrainedLayer, Pretraining
from .training import greedy

__all__ = [
    "RBM",
    "AutoEncoder",
    "PretrainedLayer",
    "Pretraining",
    "Supervised",
    "codes",
    "greedy",
    "reconstruct",
    "unroll",
]
