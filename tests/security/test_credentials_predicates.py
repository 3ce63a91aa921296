"""Predicate proofs: what a holder may try against a verifier, and what nobody learns."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from exchange.credentials import predicates
from exchange.credentials.errors import CredentialInvalid
from exchange.credentials.predicates import Definition, Issued, Private
from exchange.credentials.presentations import Asked, Predicate

ID = "definition-01m83xj880040g2081040g2081"
KEYS = json.loads((Path(__file__).parents[1] / "vectors" / "predicates" / "keys.json").read_text("utf-8"))[
    "keys"
]
VALUES = {"age": 34, "income-band": 3, "city": "Deyang", "valid-until": 20991231}


@dataclass(frozen=True)
class World:
    """An issuer's definition, and a wallet with a credential under it."""

    definition: Definition
    private: Private
    link: str
    issued: Issued


def key(number: int) -> tuple[Definition, Private]:
    made = KEYS[number]
    return Definition.of(made["definition"]), Private(made["key"], made["proof"])


@pytest.fixture(scope="module")
def world() -> World:
    definition, private = key(0)
    link = predicates.new_link_secret()
    return World(definition, private, link, issued(definition, private, link))


def issued(definition: Definition, private: Private, link: str, **changes: int | str) -> Issued:
    offered = predicates.offer(definition, private)
    request, kept = predicates.request_credential(definition, offered, link)
    credential = predicates.issue(definition, private, offered, request, {**VALUES, **changes})
    return predicates.store(definition, credential, kept, link)


def ask(world: World, *asked: tuple[str, str, int], reveal: tuple[str, ...] = ()) -> dict[str, Any]:
    wanted = Asked(
        tuple(Predicate(ID, name, operator, value) for name, operator, value in asked),
        tuple((ID, name) for name in reveal),
    )
    return predicates.ask(wanted, [world.definition])


def prove(world: World, request: dict[str, Any]) -> str:
    return predicates.prove(request, [world.issued], world.link)


def not_proved(world: World, presentation: str, request: dict[str, Any], reason: str = "not-proved") -> None:
    with pytest.raises(CredentialInvalid) as caught:
        predicates.check(presentation, request, [world.definition])
    assert caught.value.reason == reason
    assert "34" not in str(caught.value)


@pytest.mark.parametrize(
    ("operator", "value"), [(">=", 18), (">=", 34), (">", 33), ("<=", 34), ("<", 35), (">=", -5)]
)
def test_a_predicate_that_holds_is_proved_without_the_value(world: World, operator: str, value: int) -> None:
    request = ask(world, ("age", operator, value))
    presentation = prove(world, request)
    assert predicates.check(presentation, request, [world.definition]) == {}
    shown = json.loads(presentation)
    assert shown["requested_proof"]["revealed_attrs"] == {}
    assert shown["proof"]["proofs"][0]["primary_proof"]["eq_proof"]["revealed_attrs"] == {}


@pytest.mark.parametrize(("operator", "value"), [(">=", 35), (">", 34), ("<=", 33), ("<", 34)])
def test_a_predicate_that_does_not_hold_cannot_be_proved(world: World, operator: str, value: int) -> None:
    with pytest.raises(CredentialInvalid) as caught:
        prove(world, ask(world, ("age", operator, value)))
    assert caught.value.reason == "not-proved"


def test_only_what_is_asked_is_revealed(world: World) -> None:
    request = ask(world, ("age", ">=", 18), reveal=("city",))
    presentation = prove(world, request)
    assert predicates.check(presentation, request, [world.definition]) == {"r0": "Deyang"}
    assert "income" not in json.dumps(json.loads(presentation)["requested_proof"])


def test_a_presentation_answers_one_request_alone(world: World) -> None:
    first, second = (ask(world, ("age", ">=", 18)) for _ in range(2))
    presentation = prove(world, first)
    predicates.check(presentation, first, [world.definition])
    not_proved(world, presentation, second)


def test_a_proof_of_less_than_was_asked(world: World) -> None:
    """The library accepts this one."""
    asked = ask(world, ("age", ">=", 40))
    easier = json.loads(json.dumps(asked))
    easier["requested_predicates"]["p0"]["p_value"] = 18
    not_proved(world, prove(world, easier), asked)


def renamed(presentation: str, change: Callable[[dict[str, Any]], None]) -> str:
    shown = json.loads(presentation)
    change(shown)
    return json.dumps(shown)


def range_proof(shown: dict[str, Any]) -> dict[str, Any]:
    proof: dict[str, Any] = shown["proof"]["proofs"][0]["primary_proof"]["ge_proofs"][0]
    return proof


def test_a_proof_about_another_attribute_under_the_name_that_was_asked(world: World) -> None:
    """``valid-until`` is large; the library accepts it as an age."""
    asked = ask(world, ("age", ">=", 1000))
    other = json.loads(json.dumps(asked))
    other["requested_predicates"]["p0"]["name"] = "valid-until"
    presentation = prove(world, other)
    not_proved(world, presentation, asked)
    not_proved(
        world,
        renamed(presentation, lambda shown: range_proof(shown)["predicate"].update(attr_name="age")),
        asked,
    )


def test_a_claimed_predicate_that_the_proof_was_not_made_for(world: World) -> None:
    asked = ask(world, ("age", ">=", 40))
    easier = json.loads(json.dumps(asked))
    easier["requested_predicates"]["p0"]["p_value"] = 18
    presentation = prove(world, easier)
    not_proved(
        world, renamed(presentation, lambda shown: range_proof(shown)["predicate"].update(value=40)), asked
    )


def test_another_value_than_the_signed_one_is_not_believed(world: World) -> None:
    """The library accepts another raw value."""
    asked = ask(world, ("age", ">=", 18), reveal=("income-band",))
    presentation = prove(world, asked)

    def raw(shown: dict[str, Any]) -> None:
        shown["requested_proof"]["revealed_attrs"]["r0"]["raw"] = "9"

    def both(shown: dict[str, Any]) -> None:
        raw(shown)
        shown["requested_proof"]["revealed_attrs"]["r0"]["encoded"] = "9"

    def everywhere(shown: dict[str, Any]) -> None:
        both(shown)
        shown["proof"]["proofs"][0]["primary_proof"]["eq_proof"]["revealed_attrs"]["income-band"] = "9"

    for change in (raw, both, everywhere):
        not_proved(world, renamed(presentation, change), asked)


def test_missing_and_additional_parts(world: World) -> None:
    asked = ask(world, ("age", ">=", 18), ("income-band", ">=", 2))
    presentation = prove(world, asked)

    def drop(shown: dict[str, Any]) -> None:
        shown["proof"]["proofs"][0]["primary_proof"]["ge_proofs"].pop()

    def none(shown: dict[str, Any]) -> None:
        shown["proof"]["proofs"][0]["primary_proof"]["ge_proofs"] = []

    def unanswered(shown: dict[str, Any]) -> None:
        shown["requested_proof"]["predicates"].pop("p1")

    def attested(shown: dict[str, Any]) -> None:
        shown["requested_proof"]["self_attested_attrs"] = {"age": "99"}

    def elsewhere(shown: dict[str, Any]) -> None:
        shown["requested_proof"]["predicates"]["p0"]["sub_proof_index"] = 7

    def foreign(shown: dict[str, Any]) -> None:
        shown["identifiers"][0]["cred_def_id"] = "did:key:z6MkOther/anoncreds/x"

    def doubled(shown: dict[str, Any]) -> None:
        shown["identifiers"] *= 2

    for change in (drop, none, unanswered, attested, elsewhere, foreign, doubled):
        not_proved(world, renamed(presentation, change), asked)


@pytest.mark.parametrize(
    "presentation",
    ["", "{}", "[]", '{"proof": 1}', '{"proof":{},"proof":{}}', "x" * 10, '{"requested_proof":{}}'],
)
def test_what_is_no_presentation(world: World, presentation: str) -> None:
    not_proved(world, presentation, ask(world, ("age", ">=", 18)), "malformed")


def test_a_key_that_somebody_else_made_under_the_same_name(world: World) -> None:
    other, private = key(1)
    forged = issued(other, private, world.link, age=99)
    request = ask(world, ("age", ">=", 90))
    presentation = predicates.prove(request, [forged], world.link)
    predicates.check(presentation, request, [other])
    not_proved(world, presentation, request)


def test_a_credential_serves_its_wallet_alone(world: World) -> None:
    request = ask(world, ("age", ">=", 18))
    stranger = predicates.prove(request, [world.issued], predicates.new_link_secret())
    not_proved(world, stranger, request)


def test_a_credential_is_for_the_request_it_answers(world: World) -> None:
    offered = predicates.offer(world.definition, world.private)
    request, _ = predicates.request_credential(world.definition, offered, world.link)
    _, other = predicates.request_credential(world.definition, offered, world.link)
    made = predicates.issue(world.definition, world.private, offered, request, VALUES)
    with pytest.raises(CredentialInvalid):
        predicates.store(world.definition, made, other, world.link)
    fresh = predicates.offer(world.definition, world.private)
    with pytest.raises(CredentialInvalid):
        predicates.issue(world.definition, world.private, fresh, request, VALUES)


@pytest.mark.parametrize(
    "values",
    [
        {"age": 34},
        {**VALUES, "name": "x"},
        {**VALUES, "age": 2**31},
        {**VALUES, "age": True},
    ],
    ids=str,
)
def test_other_attributes_than_the_definitions_are_not_signed(world: World, values: dict[str, Any]) -> None:
    offered = predicates.offer(world.definition, world.private)
    request, _ = predicates.request_credential(world.definition, offered, world.link)
    with pytest.raises(CredentialInvalid) as caught:
        predicates.issue(world.definition, world.private, offered, request, values)
    assert caught.value.reason == "attributes"


@pytest.mark.parametrize(
    "asked",
    [
        Asked(()),
        Asked((Predicate(ID, "age", "==", 18),)),
        Asked((Predicate(ID, "age", ">=", 2**31),)),
        Asked((Predicate(ID, "shoe-size", ">=", 40),)),
        Asked((Predicate(ID, "age", ">=", 18),), ((ID, "age"),)),
    ],
    ids=["nothing", "operator", "number", "attribute", "proved and revealed"],
)
def test_what_cannot_be_asked(world: World, asked: Asked) -> None:
    with pytest.raises(CredentialInvalid):
        predicates.ask(asked, [world.definition])


def test_secrets_are_not_shown(world: World) -> None:
    for one in (world.private, world.issued, replace(world.private, key="SECRET")):
        assert "SECRET" not in repr(one)
        assert world.private.key[:40] not in repr(one)
