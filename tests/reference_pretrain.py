"""The oracle of pre-training: contrastive divergence and auto-encoders of one layer in float64 NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from reference import activation, activation_derivative
from reference_network import SLOPES


def sigmoid(z):
    return activation("sigmoid", z, 0.0).astype(np.float64)


@dataclass
class Codec:
    """w[I,H], b[H], c[I], and v[H,I] or None: w transposed."""

    w: np.ndarray
    b: np.ndarray
    c: np.ndarray
    v: np.ndarray | None = None

    def parameters(self):
        return [p for p in (self.w, self.b, self.c, self.v) if p is not None]

    def divergence(self, x, uniforms):
        """Reconstruction error and descent directions of CD-k; uniforms[k] are u[B,H] of Gibbs step k."""
        start = p = sigmoid(x @ self.w + self.b)
        for u in uniforms:
            h = (u <= p).astype(np.float64)
            y = sigmoid(h @ self.w.T + self.c)
            p = sigmoid(y @ self.w + self.b)
        n = len(x)
        gradients = [(y.T @ p - x.T @ start) / n, (p - start).mean(0), (y - x).mean(0)]
        return 0.5 * ((y - x) ** 2).sum() / n, gradients

    def loss(self, x, kept, f, loss, g):
        """An auto-encoder's loss of x[B,I], where inputs with kept[B,I] = 0 are set to 0, from its definition."""
        h = activation(f, (x * kept) @ self.w + self.b, SLOPES.get(f, 0.0)).astype(np.float64)
        z = h @ (self.w.T if self.v is None else self.v) + self.c
        if loss == "binary_cross_entropy":
            return (np.logaddexp(0, z) - x * z).sum() / len(x)
        return 0.5 * ((activation(g, z, SLOPES.get(g, 0.0)).astype(np.float64) - x) ** 2).sum() / len(x)

    def gradients(self, x, kept, f, loss, g):
        """Gradients of `loss` in parameters() order, by the chain rule, without pairs or fusion."""
        xc, n = x * kept, len(x)
        v = self.w.T if self.v is None else self.v
        a = xc @ self.w + self.b
        h = activation(f, a, SLOPES.get(f, 0.0)).astype(np.float64)
        z = h @ v + self.c
        if loss == "binary_cross_entropy":
            dz = (sigmoid(z) - x) / n
        else:
            y = activation(g, z, SLOPES.get(g, 0.0)).astype(np.float64)
            dz = (y - x) / n * activation_derivative(g, z, SLOPES.get(g, 0.0)).astype(np.float64)
        da = (dz @ v.T) * activation_derivative(f, a, SLOPES.get(f, 0.0)).astype(np.float64)
        dw, dv = xc.T @ da, h.T @ dz
        if self.v is None:
            return [dw + dv.T, da.sum(0), dz.sum(0)]
        return [dw, da.sum(0), dz.sum(0), dv]
