"""The models: a regression, or a network of a few dense layers; one vector of parameters, layer by layer.

Of each layer first the biases, float64[outputs], then the weights, float64[inputs, outputs], row by row. A
regression is a network without a hidden layer: its intercept, then its coefficients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.horizontal.settings import Family, Settings

__all__ = ["Floats", "clipped_gradients", "initial", "losses", "losses_and_gradient", "predicted"]

Floats = NDArray[np.float64]

CHUNK_ROWS: Final = 65_536
"""Rows of a forward pass at once, where no gradient is taken."""


def initial(settings: Settings, columns: int, session: bytes) -> Floats:
    """The model before the first round, the same at all parties: float64[parameters].

    A regression begins at 0; hidden layers with uniform weights within sqrt(6 / (inputs + outputs)) drawn
    from the session, biases at 0.

    Security: public. Leaks: nothing. Cost: local. Source: Glorot, Bengio 2010, equation 16.
    """
    if not settings.hidden:
        return np.zeros(settings.parameters(columns))
    draw = np.random.Generator(np.random.PCG64(int.from_bytes(session)))
    parts = []
    for inputs, outputs in settings.shapes(columns):
        bound = np.sqrt(6 / (inputs + outputs))
        parts += [np.zeros(outputs), draw.uniform(-bound, bound, inputs * outputs)]
    return np.concatenate(parts)


def predicted(settings: Settings, parameters: Floats, features: Floats) -> Floats:
    """What the model says of each row: log odds of the label, or its standardised value.

    Args:
        settings: of the model.
        parameters: float64[parameters].
        features: float64[rows, columns], standardised.

    Returns:
        float64[rows].
    """
    parts = (
        _forward(settings, parameters, features[at : at + CHUNK_ROWS])[-1][:, 0]
        for at in range(0, len(features), CHUNK_ROWS)
    )
    return np.concatenate([np.zeros(0), *parts])


def losses(settings: Settings, parameters: Floats, features: Floats, label: Floats) -> Floats:
    """Of each row the cross-entropy, or the squared error of the standardised label: float64[rows]."""
    return _losses(settings.family, predicted(settings, parameters, features), label)


def losses_and_gradient(
    settings: Settings, parameters: Floats, features: Floats, label: Floats
) -> tuple[Floats, Floats]:
    """The losses of a batch and the gradient of their mean, of half of it for a linear model.

    Args:
        settings: of the model.
        parameters: float64[parameters].
        features: float64[rows, columns], standardised, at least one row.
        label: float64[rows], 0 and 1 or standardised.

    Returns:
        float64[rows] and float64[parameters].

    Source: back-propagation: Rumelhart, Hinton, Williams 1986.
    """
    scores, passed = _backward(settings, parameters, features, label)
    gradient = _weighted(passed, np.full(len(label), 1 / len(label)))
    return _losses(settings.family, scores, label), gradient


def clipped_gradients(
    settings: Settings, parameters: Floats, features: Floats, label: Floats, largest: float
) -> Floats:
    """The sum over rows of the gradient of each row's loss, each scaled down to a norm of ``largest``.

    Args:
        settings: of the model.
        parameters: float64[parameters].
        features: float64[rows, columns], standardised; there may be no row.
        label: float64[rows], 0 and 1 or standardised.
        largest: Euclidean norm of a row's gradient.

    Returns:
        float64[parameters].

    Source: clipping: Abadi et al. 2016, algorithm 1; norms without the gradients of single rows: Goodfellow
    2015 (Efficient Per-Example Gradient Computations).
    """
    _, passed = _backward(settings, parameters, features, label)
    squares = sum((delta**2).sum(axis=1) * (1 + (entering**2).sum(axis=1)) for entering, delta in passed)
    norms = np.maximum(np.sqrt(squares), largest)
    return _weighted(passed, largest / norms)


def _backward(
    settings: Settings, parameters: Floats, features: Floats, label: Floats
) -> tuple[Floats, list[tuple[Floats, Floats]]]:
    """The scores, and of each layer what enters and the derivative of each row's loss by what leaves."""
    *inputs, fitted = _forward(settings, parameters, features)
    scores = fitted[:, 0]
    target = scores if settings.family is Family.LINEAR else _sigmoid(scores)
    delta = (target - label)[:, None]
    passed: list[tuple[Floats, Floats]] = []
    layers = list(_layers(settings, parameters, features.shape[1]))
    for (_, weights), entering in zip(reversed(layers), reversed(inputs), strict=True):
        passed.insert(0, (entering, delta))
        # The derivative of tanh by its value; of the features none is taken.
        delta = (delta @ weights.T) * (1 - entering**2)
    return scores, passed


def _weighted(passed: list[tuple[Floats, Floats]], weights: Floats) -> Floats:
    """The weighted sum of the rows' gradients."""
    parts: list[Floats] = []
    for entering, delta in passed:
        weighted = delta * weights[:, None]
        parts += [weighted.sum(axis=0), (entering.T @ weighted).ravel()]
    return np.concatenate(parts)


def _forward(settings: Settings, parameters: Floats, features: Floats) -> list[Floats]:
    """What enters each layer, and what leaves the last."""
    passed = [features]
    layers = list(_layers(settings, parameters, features.shape[1]))
    for number, (biases, weights) in enumerate(layers, start=1):
        fitted = passed[-1] @ weights + biases
        passed.append(fitted if number == len(layers) else np.tanh(fitted))
    return passed


def _layers(settings: Settings, parameters: Floats, columns: int) -> Iterator[tuple[Floats, Floats]]:
    at = 0
    for inputs, outputs in settings.shapes(columns):
        after = at + outputs + inputs * outputs
        yield parameters[at : at + outputs], parameters[at + outputs : after].reshape(inputs, outputs)
        at = after


def _losses(family: Family, scores: Floats, label: Floats) -> Floats:
    if family is Family.LINEAR:
        squares: Floats = (scores - label) ** 2
        return squares
    # log(1 + exp(s)) - y s, without overflow
    entropy: Floats = np.logaddexp(0, scores) - label * scores
    return entropy


def _sigmoid(scores: Floats) -> Floats:
    half: Floats = 0.5 * (1 + np.tanh(scores / 2))
    return half
