"""The owner's side of a keyword query: evaluates blinded keys and answers encrypted queries.

One object serves one version of one list, from any number of threads. It keeps no state between calls, and
what it does and how long it takes depends on the number of keys alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mpc.errors import InvalidInput
from mpc.oprf import rfc9497
from mpc.pir import files, simple
from mpc.pir.messages import Answers, BlindedKeys, EvaluatedKeys, Queries
from mpc.randomness import Randomness


class ListServer:
    """One version of a list, open for queries; its matrix is in memory.

    Args:
        directory: the version, as `mpc.pir.build` wrote it.
        key: the key of the manifest's epoch.

    Attributes:
        manifest: the version's.

    Raises:
        InvalidInput: the key is not the manifest's, or the matrix has not the size the manifest says.
    """

    def __init__(self, directory: Path, key: rfc9497.KeyPair) -> None:
        self.manifest = files.read_manifest(directory)
        shape = self.manifest.shape
        if key.public != self.manifest.public_key:
            raise InvalidInput(f"version {self.manifest.number} is of another key than the one given")
        size = (directory / files.MATRIX).stat().st_size
        if size != shape.columns * shape.rows:
            raise InvalidInput(f"matrix: expected {shape.columns * shape.rows} bytes, got {size}")
        self._key = key
        self._matrix = np.fromfile(directory / files.MATRIX, dtype=np.uint8).reshape(
            shape.columns, shape.rows
        )

    def evaluate(self, request: BlindedKeys, rng: Randomness) -> EvaluatedKeys:
        """Evaluate blinded keys and prove that the manifest's key did it.

        Raises:
            MalformedMessage: an element is not of the group.

        Security: the elements are uniform, whatever the keys are.
        Leaks: to the client, the pseudorandom function on its keys, and so whatever they open.
        Cost: local; 150 microseconds an element and core.
        Source: RFC 9497, section 3.3.2.
        """
        evaluated = rfc9497.evaluate(self._key, request.elements)
        return EvaluatedKeys(evaluated, rfc9497.prove(self._key, request.elements, evaluated, rng))

    def answer(self, request: Queries) -> Answers:
        """Multiply the matrix by the queries, once for all of them; security and cost as `simple.answer`."""
        return Answers(simple.answer(request.vectors, self._matrix))
