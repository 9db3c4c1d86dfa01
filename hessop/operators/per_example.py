"""Gradients of single examples, all at once, from the activations and cotangents of layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hessop.differentiate.layers import Layer, cotangents, entries
from hessop.differentiate.recording import Recording

__all__ = ["gradient_rows", "rows_are_of_one_example", "sums_of_squares"]


def gradient_rows(recording: Recording, scores: np.ndarray, examples: int) -> np.ndarray | None:
    """Gradients of ``<score of one example, outputs>``.

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
    """
    found = _layers(recording, examples)
    if found is None:
        return None
    total = np.zeros(recording.layout.size, dtype=recording.layout.dtype)
    positions = np.concatenate([layer.positions.ravel() for layer in found])
    if np.unique(positions).size < positions.size:  # what enters twice is added up before
        for score in scores:
            rows = gradient_rows(recording, score[None], examples)
            assert rows is not None
            total += np.sum(rows[0] ** 2, axis=0)
        return total
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
    """The layers of a model, where all parameters enter one and its rows count the examples."""
    layers, others = entries(recording)
    if others:
        return None
    if examples == 1:  # all rows belong to it
        return layers
    if any(one.inputs.ndim < 2 or len(one.inputs) != examples for one in layers):
        return None
    # An axis as long as that of the examples may be another one.
    weights, pairs = _weighted_pairs(recording, layers, examples)
    for g, weighted in pairs:
        ratio = weights.reshape(-1, *[1] * (g.ndim - 1))
        if not _is_close(weighted, ratio * g, recording):
            return None
    return layers


def rows_are_of_one_example(
    recording: Recording, layers: Sequence[Layer], examples: int
) -> list[bool]:
    """For each layer, whether every row acts on the outputs of a single example.

    Then the cotangents of all examples together can be told apart: there is one for each row.
    """
    if examples == 1:
        return [True] * len(layers)
    weights, pairs = _weighted_pairs(recording, layers, examples)
    weights = np.sort(weights)
    found = []
    for g, weighted in pairs:
        g, weighted = g.reshape(-1, g.shape[-1]), weighted.reshape(-1, g.shape[-1])
        size = np.sum(g * g, axis=1)
        ratio = np.sum(g * weighted, axis=1) / np.where(size > 0.0, size, 1.0)
        after = np.searchsorted(weights, ratio).clip(1, examples - 1)
        left, right = weights[after - 1], weights[after]
        nearest = np.where(ratio - left < right - ratio, left, right)[:, None]
        found.append(_is_close(weighted, nearest * g, recording))
    return found


def _weighted_pairs(
    recording: Recording, layers: Sequence[Layer], examples: int
) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """A weight for each example, and by layers the cotangents of random outputs without and with.

    A row that acts on one example alone is multiplied by its weight.
    """
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.5, 1.5, examples)
    outputs = rng.standard_normal((examples, np.size(recording.value) // examples))
    seeds = [
        seed.reshape(np.shape(recording.value)).astype(recording.layout.dtype)
        for seed in (outputs, weights[:, None] * outputs)
    ]
    plain, weighted = cotangents(recording, [layer.node for layer in layers], seeds)
    by_layers = zip(layers, plain, weighted, strict=True)
    return weights, [(one.by_rows(g), one.by_rows(h)) for one, g, h in by_layers]


def _is_close(a: np.ndarray, b: np.ndarray, recording: Recording) -> bool:
    tolerance = float(np.finfo(recording.layout.dtype).eps) ** 0.75
    return bool(np.abs(a - b).max() <= tolerance * np.abs(b).max())


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
