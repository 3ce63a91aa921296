"""RFC vectors of the group, and runs of both protocols against a second implementation."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc import ristretto255
from mpc.errors import MalformedMessage
from mpc.psi import ecdh, masking
from mpc.secrecy import SecretScalar
from mpc.stats import group_sums
from mpc.testing import DeterministicRandomness, channel_pair, run_pair

HERE = Path(__file__).parent


def load(name: str) -> Any:
    return json.loads((HERE / name).read_text())


RFC9496 = load("ristretto255/rfc9496.json")
RFC9497 = load("ristretto255/rfc9497.json")
PSI = load("psi_ecdh/vectors.json")
SUMS = load("group_sums/vectors.json")


def named(cases: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case["name"].replace(" ", "-") for case in cases])


def test_generating_the_vectors_again_changes_nothing() -> None:
    spec = importlib.util.spec_from_file_location("mpc_generate", HERE / "mpc_generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for path, text in generate.documents().items():
        assert path.read_text() == text, path.name


def test_rfc9496_multiples_of_the_generator() -> None:
    generator = bytes.fromhex(RFC9496["generator_multiples"][0])
    total = generator
    for number, expected in enumerate(RFC9496["generator_multiples"], start=1):
        scalar = SecretScalar(number.to_bytes(32, "little"))
        assert ristretto255.multiply_base(scalar).hex() == expected
        assert ristretto255.multiply(scalar, generator).hex() == expected
        if number > 1:
            total = ristretto255.add(total, generator)
        assert total.hex() == expected


@pytest.mark.parametrize("case", RFC9496["encodings"], ids=lambda case: case["encoding"][:8])
def test_rfc9496_invalid_encodings_are_refused_by_every_operation(case: dict[str, Any]) -> None:
    encoding, generator = bytes.fromhex(case["encoding"]), bytes.fromhex(RFC9496["generator_multiples"][0])
    with pytest.raises(MalformedMessage):
        ristretto255.multiply(SecretScalar((7).to_bytes(32, "little")), generator + encoding)
    with pytest.raises(MalformedMessage):
        ristretto255.add(generator, encoding)
    with pytest.raises(MalformedMessage):
        ristretto255.subtract(encoding, generator)


@pytest.mark.parametrize("case", RFC9497["cases"], ids=lambda case: case["input"])
def test_rfc9497_blinded_elements(case: dict[str, Any]) -> None:
    hashed = ristretto255.hash_to_group([bytes.fromhex(case["input"])], bytes.fromhex(RFC9497["separation"]))
    blind = SecretScalar(bytes.fromhex(case["blind"]))
    assert ristretto255.multiply(blind, hashed).hex() == case["blinded"]


def play(case: dict[str, Any], first: Any, second: Any) -> tuple[Any, dict[tuple[str, str], str]]:
    """Run both roles with the case's session and seeds; return outputs and messages by direction and name."""
    messages: dict[tuple[str, str], str] = {}

    def tap(direction: str, label: str, payload: bytes) -> None:
        messages[direction, label.rsplit("/", 1)[1]] = payload.hex()

    rngs = [DeterministicRandomness(bytes.fromhex(seed)) for seed in case["seeds"]]
    channels = channel_pair(bytes.fromhex(case["session"]), tap=tap)
    outputs = run_pair(lambda ch: first(ch, rngs[0]), lambda ch: second(ch, rngs[1]), channels)
    return outputs, messages


@named(PSI["runs"])
def test_psi_ecdh_run(case: dict[str, Any]) -> None:
    left, right = ([bytes.fromhex(item) for item in items] for items in case["items"])
    outputs, messages = play(
        case, lambda ch, rng: ecdh.run(ch, left, rng), lambda ch, rng: ecdh.run(ch, right, rng)
    )
    for rank, direction in enumerate(("0->1", "1->0")):
        assert messages[direction, "masked"] == case["masked"][rank]
        assert messages[direction, "double-masked"] == case["double_masked"][1 - rank]
        assert outputs[rank].rows.tolist() == case["rows"][rank]


@named(PSI["masked_messages"])
def test_psi_ecdh_masked_message(case: dict[str, Any]) -> None:
    key = SecretScalar((7).to_bytes(32, "little"))

    def receive() -> masking.Tags:
        message = masking.MaskedItems.decode(bytes.fromhex(case["payload"]), case["rows"])
        return masking.double_mask(message, key, b"tags")

    if case["valid"]:
        assert len(receive().tags) == case["rows"] * masking.TAG_BYTES
    else:
        with pytest.raises(MalformedMessage):
            receive()


@named(SUMS["runs"])
def test_group_sums_run(case: dict[str, Any]) -> None:
    measures, groups = np.array(case["measures"], dtype=np.int64), np.array(case["groups"], dtype=np.int64)
    minimum = case["min_cohort"]
    outputs, messages = play(
        case,
        lambda ch, rng: group_sums.measure_holder(ch, measures, min_cohort=minimum, rng=rng),
        lambda ch, rng: group_sums.group_holder(ch, groups, case["k"], min_cohort=minimum, rng=rng),
    )
    assert messages["1->0", "base-offer"] == case["base_offer"]
    assert messages["0->1", "base-choices"] == case["base_choices"]
    assert messages["1->0", "columns"] == case["columns"]
    assert messages["0->1", "corrections"] == case["corrections"]
    for output, shares in zip(outputs, case["shares"], strict=True):
        assert output.counts.tolist() == case["counts"]
        assert [[str(value) for value in group] for group in output.shares.tolist()] == shares


@named(SUMS["cohorts_messages"])
def test_group_sums_cohorts_message(case: dict[str, Any]) -> None:
    payload = bytes.fromhex(case["payload"])
    if case["valid"]:
        assert group_sums.Cohorts.decode(payload).encode() == payload
    else:
        with pytest.raises(MalformedMessage):
            group_sums.Cohorts.decode(payload)
