"""The layers of a network as a step states them, in the order of ``torch.nn.Sequential``.

``["linear 8 16", "relu", "linear 16 1", "sigmoid"]``: what a person reads off ``print(model)``. Everybody who
takes part in the step knows them; the numbers are `state_dict`'s.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from exchange.errors import InvalidRequest
from mpc.engines.networks import MAX_LAYERS, MAX_NUMBERS, MAX_UNITS, Layer

__all__ = ["Sequential", "check_layers"]

_LINEAR: Final = re.compile(r"linear ([1-9][0-9]{0,2}) ([1-9][0-9]{0,2})")
_MAX_WORDS: Final = 2 * MAX_LAYERS


@dataclass(frozen=True)
class Sequential:
    """A network that can be computed on shares.

    Attributes:
        layers: the linear ones, with the rectifiers that follow.
        places: of the linear layers among all, from 0: torch names their tensors by it.
        has_sigmoid: a logistic function comes last; the recipient computes it.
    """

    layers: tuple[Layer, ...]
    places: tuple[int, ...]
    has_sigmoid: bool

    @classmethod
    def read(cls, value: object, at: str) -> Sequential:
        """Read the parameter ``layers``.

        Args:
            value: a list of texts.
            at: the field's name, for errors.

        Raises:
            InvalidRequest: a layer is none, or does not follow the one before; or there are too many numbers.
        """
        if not isinstance(value, list) or not 1 <= len(value) <= _MAX_WORDS:
            raise InvalidRequest(at, f"a list of 1 to {_MAX_WORDS} layers", repr(value)[:40])
        layers: list[Layer] = []
        places: list[int] = []
        for place, word in enumerate(value):
            here = f"{at}[{place}]"
            found = _LINEAR.fullmatch(word) if isinstance(word, str) else None
            is_after_linear = bool(places) and places[-1] == place - 1
            if found is not None:
                layers.append(_linear(int(found[1]), int(found[2]), layers, here))
                places.append(place)
            elif word == "relu" and is_after_linear:
                layers[-1] = Layer(layers[-1].inputs, layers[-1].outputs, is_rectified=True)
            elif word != "sigmoid" or not is_after_linear or place != len(value) - 1:
                raise InvalidRequest(here, _expected(is_after_linear), repr(word)[:40])
        if len(layers) > MAX_LAYERS:
            raise InvalidRequest(at, f"at most {MAX_LAYERS} linear layers", str(len(layers)))
        if (numbers := sum(layer.numbers for layer in layers)) > MAX_NUMBERS:
            raise InvalidRequest(at, f"at most {MAX_NUMBERS} weights and biases", str(numbers))
        return cls(tuple(layers), tuple(places), value[-1] == "sigmoid")


def check_layers(value: object, at: str) -> None:
    """Check the parameter ``layers``; raises as `Sequential.read`."""
    Sequential.read(value, at)


def _linear(inputs: int, outputs: int, before: Sequence[Layer], at: str) -> Layer:
    if max(inputs, outputs) > MAX_UNITS:
        raise InvalidRequest(at, f"at most {MAX_UNITS} units", f"{inputs} and {outputs}")
    if before and before[-1].outputs != inputs:
        raise InvalidRequest(at, f"{before[-1].outputs} inputs, the outputs before", str(inputs))
    return Layer(inputs, outputs, is_rectified=False)


def _expected(is_after_linear: bool) -> str:
    linear = "linear INPUTS OUTPUTS"
    return f"{linear}, relu, or at the end sigmoid" if is_after_linear else linear
