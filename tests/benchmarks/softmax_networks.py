"""Softmax networks for the benchmarks of what stands in for a Hessian, and their loops by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

Vector = np.ndarray
Rows = list[np.ndarray]


@dataclass(frozen=True)
class Network:
    """A tanh network with two hidden layers and classes, at a point; sums over examples.

    In flat vectors weights come before biases, as sorted by name; written out in plain NumPy.
    """

    rows: int
    sizes: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        return f"softmax network {'-'.join(map(str, self.sizes))}, {self.rows:,} rows"

    @cached_property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        return (
            rng.standard_normal((self.rows, self.sizes[0])),
            rng.integers(0, self.sizes[-1], self.rows),
        )

    @cached_property
    def x(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(1)
        shapes = list(enumerate(pairwise(self.sizes), 1))
        weights = {f"W{i}": rng.standard_normal(s) / np.sqrt(s[0]) for i, s in shapes}
        return weights | {f"b{i}": 0.1 * rng.standard_normal(s[1]) for i, s in shapes}

    def model(self, anp: Any) -> Callable[[Any], Any]:
        X, _ = self.data

        def logits(p: Any) -> Any:
            a = anp.tanh(anp.dot(X, p["W1"]) + p["b1"])
            a = anp.tanh(anp.dot(a, p["W2"]) + p["b2"])
            return anp.dot(a, p["W3"]) + p["b3"]

        return logits

    def loss(self, anp: Any) -> Callable[[Any], Any]:
        _, y = self.data
        chosen = np.eye(self.sizes[-1])[y]

        def cross_entropy(z: Any) -> Any:
            top = anp.max(z, axis=1, keepdims=True)
            return anp.sum(anp.log(anp.sum(anp.exp(z - top), axis=1)) + top[:, 0]) - anp.sum(
                chosen * z
            )

        return cross_entropy

    # --- by hand --------------------------------------------------------------------------------

    @cached_property
    def activations(self) -> tuple[Rows, np.ndarray]:
        """What comes into each layer, and the probabilities."""
        X, _ = self.data
        p = self.x
        A1 = np.tanh(X @ p["W1"] + p["b1"])
        A2 = np.tanh(A1 @ p["W2"] + p["b2"])
        P = np.exp(A2 @ p["W3"] + p["b3"])
        return [X, A1, A2], P / P.sum(axis=1, keepdims=True)

    def gauss_newton_product(self) -> Callable[[Vector], Vector]:
        """Forward along v, through the softmax, and back, line by line."""
        (X, A1, A2), P = self.activations
        W2, W3 = self.x["W2"], self.x["W3"]
        S1, S2 = 1.0 - A1**2, 1.0 - A2**2
        shapes = [self.x[key].shape for key in sorted(self.x)]
        ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]

        def product(v: Vector) -> Vector:
            V1, V2, V3, c1, c2, c3 = (
                part.reshape(shape) for part, shape in zip(np.split(v, ends), shapes, strict=True)
            )
            R1 = S1 * (X @ V1 + c1)
            R2 = S2 * (A1 @ V2 + R1 @ W2 + c2)
            R3 = A2 @ V3 + R2 @ W3 + c3
            T3 = P * (R3 - np.sum(P * R3, axis=1, keepdims=True))
            T2 = (T3 @ W3.T) * S2
            T1 = (T2 @ W2.T) * S1
            parts = (X.T @ T1, A1.T @ T2, A2.T @ T3, T1.sum(axis=0), T2.sum(axis=0), T3.sum(axis=0))
            return np.concatenate([part.ravel() for part in parts])

        return product

    def back(self, i: int, T3: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """For one example, what comes into each layer and the gradient in what goes out."""
        (X, A1, A2), _ = self.activations
        T2 = (self.x["W3"] @ T3) * (1.0 - A2[i] ** 2)
        T1 = (self.x["W2"] @ T2) * (1.0 - A1[i] ** 2)
        return [(X[i], T1), (A1[i], T2), (A2[i], T3)]

    def gradients_by_a_loop(self) -> np.ndarray:
        """One gradient after the other, each by back-propagation."""
        _, P = self.activations
        _, y = self.data
        rows = []
        for i in range(self.rows):
            error = P[i] - np.eye(self.sizes[-1])[y[i]]
            layers = self.back(i, error)
            rows.append(
                np.concatenate(
                    [*(np.outer(a, t).ravel() for a, t in layers), *(t for _, t in layers)]
                )
            )
        return np.array(rows)

    def kfac_by_a_loop(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The factors of each layer, one example and one class after the other."""
        _, P = self.activations
        wide = [(m + 1, n) for m, n in pairwise(self.sizes)]
        factors = [(np.zeros((m, m)), np.zeros((n, n))) for m, n in wide]
        for i in range(self.rows):
            for c in range(self.sizes[-1]):
                root = np.sqrt(P[i, c]) * (np.eye(self.sizes[-1])[c] - P[i])
                for (a, t), (A, G) in zip(self.back(i, root), factors, strict=True):
                    G += np.outer(t, t)
                    if c == 0:
                        joint = np.append(a, 1.0)
                        A += np.outer(joint, joint) / self.rows
        return factors

    def diagonal_by_a_loop(self) -> np.ndarray:
        """The diagonal of the Fisher matrix, one example and one class after the other."""
        _, P = self.activations
        total = 0.0
        for i in range(self.rows):
            for c in range(self.sizes[-1]):
                root = np.sqrt(P[i, c]) * (np.eye(self.sizes[-1])[c] - P[i])
                layers = self.back(i, root)
                squares = [np.outer(a**2, t**2).ravel() for a, t in layers]
                total = total + np.concatenate([*squares, *(t**2 for _, t in layers)])
        return np.asarray(total)


NETWORKS = (
    Network(256, (20, 50, 50, 4)),
    Network(1_000, (100, 200, 200, 10)),
)
