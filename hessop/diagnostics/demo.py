"""A small network trained on handwritten digits: something to report on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hessop.likelihoods import Categorical
from hessop.optimize import minimize

__all__ = ["TrainedNetwork", "network_loss", "trained_network"]

_HIDDEN, _CLASSES, _PENALTY = 10, 10, 1e-3


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained network, and what it was trained with.

    Attributes
    ----------
    params : dict
        The weights ``W1``, ``W2`` and the biases ``b1``, ``b2``.
    args : tuple
        Images and labels, as `network_loss` takes them.
    accuracy : float
        On the images that it was trained with.
    """

    params: dict[str, np.ndarray]
    args: tuple[np.ndarray, np.ndarray]
    accuracy: float


def network_scores(params: Any, images: np.ndarray) -> Any:
    """A score for each image and class.

    The activation ``z / sqrt(1 + z²)`` looks like tanh, and needs no function of NumPy.
    """
    z = images @ params["W1"] + params["b1"]
    return z * (1.0 + z**2) ** -0.5 @ params["W2"] + params["b2"]


def network_loss(params: Any, images: np.ndarray, labels: np.ndarray) -> Any:
    """Mean cross-entropy, and a small quadratic penalty."""
    cross_entropy = Categorical().nll(network_scores(params, images), labels) / len(images)
    return cross_entropy + _PENALTY / 2 * sum((p**2).sum() for p in params.values())


def trained_network(*, progress: bool = False) -> TrainedNetwork:
    """The network after training on scikit-learn's 1,797 digits.

    Raises
    ------
    ImportError
        When scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "the demo needs scikit-learn for its images, which is not installed. "
            "Run 'pip install scikit-learn'."
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    images = pixels / 16.0
    rng = np.random.default_rng(0)
    start = {
        "W1": rng.standard_normal((images.shape[1], _HIDDEN)) / 8.0,
        "b1": np.zeros(_HIDDEN),
        "W2": rng.standard_normal((_HIDDEN, _CLASSES)) / np.sqrt(_HIDDEN),
        "b2": np.zeros(_CLASSES),
    }
    args = (images, labels)
    result = minimize(
        network_loss,
        start,
        args=args,
        method="trust-krylov",
        options={"gtol": 1e-6},
        progress=progress,
    )
    right = np.argmax(network_scores(result.params, images), axis=1) == labels
    return TrainedNetwork(result.params, args, float(np.mean(right)))
