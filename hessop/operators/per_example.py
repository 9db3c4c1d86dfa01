"""Gradients of single examples, all at once, from the activations and cotangents of layers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hessop.differentiate.layers import Layer, cotangents, entries
from hessop.differentiate.recording import Recording

__all__ = ["gradient_rows", "sums_of_squares"]


def gradient_rows(recording: Recording, scores: np.ndarray, examples: int) -> np.ndarray | None:
    """Gradients of ``<score of one example, outputs>``.

    It is taken for granted that a layer's first axis of rows, where it is as long as there are
    examples, counts them: the caller has to check.

    Parameters
    ----------
    recording : Recording
    scores : ndarray, shape ``(s, *outputs.shape)``
    examples : int

    Returns
    -------
    ndarray, shape (s, examples, n), or None
        None where parameters enter otherwise than as layers.
    """
    found = _layers(recording, examples)
    if found is None:
        return None
    n, dtype = recording.layout.size, recording.layout.dtype
    positions = np.concatenate([layer.positions.ravel() for layer in found])
    once = np.array_equal(np.sort(positions), np.arange(n))
    rows = (np.empty if once else np.zeros)((len(scores), examples, n), dtype)
    for s, layer, a, g in _by_examples(recording, found, scores, examples):
        where = layer.positions.ravel()
        if once and (np.diff(where) == 1).all():  # a whole leaf, or a slice of one: in place
            part = rows[s][:, where[0] : where[-1] + 1]
            _outer_products(a, g, part.reshape(examples, *layer.positions.shape))
        elif once:
            rows[s][:, where] = _outer_products(a, g).reshape(examples, -1)
        else:
            np.add.at(rows[s].T, where, _outer_products(a, g).reshape(examples, -1).T)
    return rows


def sums_of_squares(recording: Recording, scores: np.ndarray, examples: int) -> np.ndarray | None:
    """The squares of `gradient_rows`, summed over scores and examples, without the rows.

    Returns
    -------
    ndarray, shape (n,), or None
        None also where a parameter enters more than once.
    """
    found = _layers(recording, examples)
    if found is None:
        return None
    total = np.zeros(recording.layout.size, dtype=recording.layout.dtype)
    positions = np.concatenate([layer.positions.ravel() for layer in found])
    if np.unique(positions).size < positions.size:
        return None
    for _, layer, a, g in _by_examples(recording, found, scores, examples):
        if a.shape[1] == 1:  # the square of an outer product is that of the squares
            squares = (a[:, 0] ** 2).T @ g[:, 0] ** 2
        else:
            squares = np.sum(_outer_products(a, g) ** 2, axis=0)
        total[layer.positions] += squares
    return total


def _outer_products(a: np.ndarray, g: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """For each example, the outer products of its rows, summed."""
    multiply = np.multiply if a.shape[1] == 1 else np.matmul
    products: np.ndarray = multiply(a.transpose(0, 2, 1), g, out=out)
    return products


def _layers(recording: Recording, examples: int) -> list[Layer] | None:
    layers, others = entries(recording)
    # All rows belong to a single example; else the first axis of rows has to count them.
    fits = examples == 1 or all(
        layer.inputs.ndim > 1 and len(layer.inputs) == examples for layer in layers
    )
    return layers if fits and not others else None


def _by_examples(
    recording: Recording, layers: list[Layer], scores: np.ndarray, examples: int
) -> Iterator[tuple[int, Layer, np.ndarray, np.ndarray]]:
    """For every score and layer, activations and cotangents, (examples, rows of each, width)."""
    seeds = (np.reshape(score, np.shape(recording.value)) for score in scores)
    nodes = [layer.node for layer in layers]
    for s, found in enumerate(cotangents(recording, nodes, seeds)):
        for layer, cotangent in zip(layers, found, strict=True):
            g = layer.by_rows(cotangent)
            a = layer.inputs.reshape(examples, -1, layer.inputs.shape[-1])
            yield s, layer, a, g.reshape(examples, -1, g.shape[-1])
