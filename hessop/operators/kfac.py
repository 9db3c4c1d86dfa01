"""Kronecker-factored curvature of plain autograd functions: the layers are read off the trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hessop._errors import name_of
from hessop.differentiate.layers import Elsewhere, Layer, cotangents, joint_layers
from hessop.differentiate.models import Model, record_model
from hessop.likelihoods import Likelihood
from hessop.operators.block_diagonal import BlockDiagonalOperator
from hessop.operators.diagonal import DiagonalOperator
from hessop.operators.fisher import fisher_operator
from hessop.operators.kronecker import KroneckerOperator
from hessop.operators.per_example import rows_are_of_one_example, sums_of_squares
from hessop.operators.scores import by_examples, check_likelihood, output_scores, single_output
from hessop.operators.structured import StructuredOperator
from hessop.params import Layout, as_args, read_tree

__all__ = ["kfac_operator"]


def kfac_operator(
    model: Callable[..., Any],
    likelihood: Likelihood,
    x: Any,
    *,
    kind: str = "exact",
    targets: Any = None,
    num_samples: int = 1,
    rng: Any = None,
    other: str = "error",
    args: tuple[Any, ...] = (),
) -> BlockDiagonalOperator:
    """The Kronecker-factored approximation of a Fisher matrix (KFAC), a block for each layer.

    A layer is wherever parameters are multiplied with activations, by ``dot``, ``@``, ``inner``,
    ``tensordot`` or ``einsum``; they may be sliced, reshaped or transposed before. A bias that is
    added to the product, and to nothing else, shares its block. With a the activations that come
    in, one of which stands for the bias, and g the gradients in what goes out, a block is
    ``A ⊗ G``, where A is the mean of ``a aᵀ`` over rows and G the sum of ``g gᵀ``. A block is exact
    for a single example on which its layer acts once, and for a linear model with squared error.

    Parameters
    ----------
    model, likelihood, x, args
        As for `fisher_operator`.
    kind : {"exact", "monte-carlo", "empirical"}
        What the gradients g are taken of: roots of the likelihood's own Fisher matrix, draws from
        it, or the observed targets.
    targets, num_samples, rng
        As for `fisher_operator`.
    other : {"error", "diagonal"}
        What to do with parameters that are used more than once, or that enter elsewhere than in a
        product or a sum: refuse them by name, or give them the exact diagonal of the Fisher matrix.

    Returns
    -------
    BlockDiagonalOperator
        Shape (n, n), of the sum over examples as `fisher_operator`. Its blocks are
        `KroneckerOperator`, named after their parameters, and at most one `DiagonalOperator`.

    Raises
    ------
    ValueError
        When parameters do not enter as layers do, with their names, what they enter, and the way
        out.
    TypeError, NonFiniteError
        As `fisher_operator`.

    Notes
    -----
    J. Martens and R. Grosse, "Optimizing neural networks with Kronecker-factored approximate
    curvature", ICML 2015. Where a layer acts at several positions of an example, each of them
    counts as a row: the setting "expand" of R. Eschenhagen, A. Immer, R. Turner, F. Schneider and
    P. Hennig, "Kronecker-factored approximate curvature for modern neural network architectures",
    NeurIPS 36, 2023.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from hessop import kfac_operator, likelihoods
    >>> X = np.array([[1.0, 2.0], [0.0, 1.0], [1.0, 1.0]])
    >>> def model(p):
    ...     return np.tanh(X @ p["W"] + p["b"]) @ p["V"]
    >>> x = {"W": np.ones((2, 2)), "b": np.zeros(2), "V": np.ones((2, 1))}
    >>> K = kfac_operator(model, likelihoods.Gaussian(), x)
    >>> K
    <8x8 BlockDiagonalOperator 2 blocks (kronecker), float64, 0 products>
    >>> K.names
    ("x['W'], x['b']", "x['V']")
    >>> step = K.inverse(damping=0.1) @ np.ones(8)
    """
    if other not in ("error", "diagonal"):
        raise ValueError(f"other is {other!r}, expected 'error' or 'diagonal'.")
    check_likelihood(likelihood, kind, targets, num_samples)
    layout, point = read_tree(x)
    args = as_args(args)
    name = name_of(model)
    at_x = record_model(model, layout, point, args)
    outputs = single_output(at_x, name)
    likelihood.check_outputs(outputs)
    layers, elsewhere = joint_layers(at_x.recording)
    examples, _ = by_examples(outputs, likelihood.event_dims)
    fits = rows_are_of_one_example(at_x.recording, layers, examples)
    for layer, is_of_one in zip(layers, fits, strict=True):
        if not is_of_one:
            reason = "acts on several examples in one row"
            elsewhere.append(Elsewhere(layer.positions, reason))
    layers = [layer for layer, is_of_one in zip(layers, fits, strict=True) if is_of_one]
    if elsewhere and other == "error":
        raise ValueError(_not_layers(elsewhere, layout, name))
    rng = np.random.default_rng(rng)
    scores = output_scores(outputs, likelihood, kind, targets, num_samples, rng)
    blocks: list[StructuredOperator] = [*_kronecker_blocks(at_x, layers, scores)]
    partition = [layer.positions.ravel() for layer in layers]
    names = [_parameters(layer.positions, layout) for layer in layers]
    rest = np.setdiff1d(np.arange(layout.size), np.concatenate([*partition, []]))
    if rest.size:
        found = sums_of_squares(at_x.recording, scores, examples)
        if found is None:  # they enter otherwise than as layers
            fisher = fisher_operator(
                model,
                likelihood,
                x,
                kind=kind,
                targets=targets,
                num_samples=num_samples,
                rng=rng,
                args=args,
            )
            blocks.append(DiagonalOperator(fisher.block(rest, rest).diagonal()))
        else:
            blocks.append(DiagonalOperator(found[rest]))
        partition.append(rest)
        names.append(_parameters(rest, layout))
    return BlockDiagonalOperator(blocks, partition, names=names)


def _kronecker_blocks(
    model: Model, layers: Sequence[Layer], scores: np.ndarray
) -> list[KroneckerOperator]:
    recording = model.recording
    gradients = [
        np.zeros((layer.positions.shape[1],) * 2, dtype=recording.layout.dtype) for layer in layers
    ]
    seeds = (np.reshape(score, np.shape(recording.value)) for score in scores)
    for found in cotangents(recording, [layer.node for layer in layers], seeds):
        for G, layer, cotangent in zip(gradients, layers, found, strict=True):
            g = layer.by_rows(cotangent).reshape(-1, len(G))
            G += g.T @ g
    blocks = []
    for layer, G in zip(layers, gradients, strict=True):
        a = layer.inputs.reshape(-1, layer.inputs.shape[-1])
        blocks.append(KroneckerOperator([(a.T @ a / len(a)).astype(G.dtype), G]))
    return blocks


def _not_layers(elsewhere: Sequence[Elsewhere], layout: Layout, name: str) -> str:
    named = (f"{_parameters(one.positions, layout)} {one.reason}" for one in elsewhere)
    which = "; ".join(dict.fromkeys(named))
    return (
        f"{name} is not made of layers alone: {which}. Expected every parameter once, in a product "
        "with activations or added to one. Use other='diagonal' to give these a diagonal block."
    )


def _parameters(positions: np.ndarray, layout: Layout) -> str:
    """The leaves, or parts of leaves, that some positions belong to."""
    inside = np.unique(positions)
    found = []
    leaves = zip(layout.offsets, layout.offsets[1:], layout.names(), strict=False)
    for start, end, leaf in leaves:
        some = inside[(inside >= start) & (inside < end)]
        if some.size == end - start > 0:
            found.append(leaf)
        elif some.size == 1:
            found.append(layout.where(int(some[0])))
        elif some.size:
            found.append(f"{layout.where(int(some[0]))} to {layout.where(int(some[-1]))}")
    return ", ".join(found)
