"""Requests for predicate proofs, and whether a presentation answers exactly what was asked.

What the cryptography proves is what the proof says of itself: this attribute is at least this number.
Whether that is what was asked is compared here, member by member. A range proof belongs to the attribute
whose response in the proof of the signature it shares; one that was made for another attribute shares
another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from exchange.credentials.documents import Document
from exchange.credentials.documents import read as read_document
from exchange.credentials.errors import CredentialInvalid

__all__ = [
    "LARGEST_INTEGER",
    "OPERATORS",
    "Asked",
    "Predicate",
    "check_answers",
    "read",
    "referents",
    "request",
]

OPERATORS: Final[Mapping[str, str]] = {">=": "GE", ">": "GT", "<=": "LE", "<": "LT"}
LARGEST_INTEGER: Final = 2**31 - 1
_LINK = "master_secret"


@dataclass(frozen=True)
class Predicate:
    """An attribute under a definition, and what has to hold of it."""

    definition: str
    attribute: str
    operator: str
    value: int


@dataclass(frozen=True)
class Asked:
    """What a check asks: predicates, and attributes to be revealed, as definition and name."""

    predicates: tuple[Predicate, ...]
    revealed: tuple[tuple[str, str], ...] = ()

    @property
    def definitions(self) -> tuple[str, ...]:
        """All definitions that are named, sorted."""
        named = {one.definition for one in self.predicates} | {name for name, _ in self.revealed}
        return tuple(sorted(named))

    def attributes_of(self, definition: str) -> set[str]:
        """The attributes of a definition that are named."""
        proved = {one.attribute for one in self.predicates if one.definition == definition}
        return proved | {name for of, name in self.revealed if of == definition}


def request(asked: Asked, uris: Mapping[str, str], nonce: str) -> dict[str, Any]:
    """Write a request in the library's form.

    Raises:
        CredentialInvalid: nothing is asked, an operator or number that does not exist, or an attribute that
        would be both proved and revealed.
    """
    if not asked.predicates:
        raise CredentialInvalid("malformed", "expected at least one predicate")
    proved = {(one.definition, one.attribute) for one in asked.predicates}
    if proved & set(asked.revealed):
        raise CredentialInvalid("malformed", "expected other attributes to reveal than those to prove about")
    for one in asked.predicates:
        if one.operator not in OPERATORS or abs(one.value) > LARGEST_INTEGER:
            raise CredentialInvalid("malformed", f"expected {', '.join(OPERATORS)} and an integer below 2^31")
    predicates = {
        f"p{number}": {
            "name": one.attribute,
            "p_type": one.operator,
            "p_value": one.value,
            "restrictions": [{"cred_def_id": uris[one.definition]}],
        }
        for number, one in enumerate(asked.predicates)
    }
    attributes = {
        f"r{number}": {"name": name, "restrictions": [{"cred_def_id": uris[definition]}]}
        for number, (definition, name) in enumerate(asked.revealed)
    }
    return {
        "name": "parley-eligibility",
        "version": "1.0",
        "nonce": nonce,
        "requested_predicates": predicates,
        "requested_attributes": attributes,
    }


def referents(request: Mapping[str, Any]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield, for each definition's URI, the referents of predicates and of attributes to reveal.

    Raises:
        CredentialInvalid: not a request of ``request``'s form.
    """
    found: dict[str, tuple[list[str], list[str]]] = {}
    try:
        for place, group in enumerate(("requested_predicates", "requested_attributes")):
            for name, one in request[group].items():
                found.setdefault(one["restrictions"][0]["cred_def_id"], ([], []))[place].append(name)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise CredentialInvalid("malformed", "expected a request of an eligibility check") from error
    for uri, (predicates, revealed) in found.items():
        yield uri, predicates, revealed


def read(presentation: str) -> Document:
    """Read a presentation strictly; see ``documents.read``."""
    return read_document(presentation)


def check_answers(
    shown: Document, request: Mapping[str, Any], schemas: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """Check that a presentation answers a request: each predicate, each revealed attribute, no other.

    Args:
        shown: the presentation.
        request: as it was sent.
        schemas: the schema's URI of each definition's.

    Returns:
        Raw and encoded value of each revealed attribute, by referent.

    Raises:
        CredentialInvalid: it answers something else.
    """
    try:
        return _checked(shown, request, schemas)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise CredentialInvalid("malformed", "expected a presentation of an eligibility check") from error


def _checked(
    shown: Document, request: Mapping[str, Any], schemas: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    said, parts, identifiers = shown["requested_proof"], shown["proof"]["proofs"], shown["identifiers"]
    if said["self_attested_attrs"] or said["unrevealed_attrs"] or said.get("revealed_attr_groups"):
        raise _other("attributes that nobody asked for")
    if len(parts) != len(identifiers):
        raise _other("another number of credentials")
    asked, revealed = request["requested_predicates"], request["requested_attributes"]
    if set(said["predicates"]) != set(asked) or set(said["revealed_attrs"]) != set(revealed):
        raise _other("other predicates or attributes than were asked")
    expected: list[list[tuple[str, str, int]]] = [[] for _ in parts]
    for name, one in asked.items():
        place = _place(said["predicates"][name], one, identifiers, schemas)
        expected[place].append((one["name"], OPERATORS[one["p_type"]], one["p_value"]))
    values = {}
    for name, one in revealed.items():
        answer = said["revealed_attrs"][name]
        place = _place(answer, one, identifiers, schemas)
        if parts[place]["primary_proof"]["eq_proof"]["revealed_attrs"][one["name"]] != answer["encoded"]:
            raise _other("another value than the one that is signed")
        values[name] = (str(answer["raw"]), str(answer["encoded"]))
    for part, wanted in zip(parts, expected, strict=True):
        _check_ranges(part["primary_proof"], wanted)
    if len({part["primary_proof"]["eq_proof"]["m"][_LINK] for part in parts}) != 1:
        raise _other("credentials of different wallets")
    return values


def _place(
    answer: Mapping[str, Any],
    one: Mapping[str, Any],
    identifiers: Sequence[Mapping[str, Any]],
    schemas: Mapping[str, str],
) -> int:
    """Which part of the proof answers; it has to be under the definition that was asked for."""
    place, uri = answer["sub_proof_index"], one["restrictions"][0]["cred_def_id"]
    if type(place) is not int or not 0 <= place < len(identifiers):
        raise _other("a part that is not there")
    if identifiers[place]["cred_def_id"] != uri or identifiers[place]["schema_id"] != schemas[uri]:
        raise _other("a credential of another definition")
    return place


def _check_ranges(primary: Mapping[str, Any], wanted: list[tuple[str, str, int]]) -> None:
    """The range proofs are those that were asked, each about the attribute that it names."""
    found = []
    for proof in primary["ge_proofs"]:
        predicate = proof["predicate"]
        found.append((predicate["attr_name"], predicate["p_type"], predicate["value"]))
        if proof["mj"] != primary["eq_proof"]["m"][predicate["attr_name"]]:
            raise _other("a proof about another attribute")
    if any(type(value) is not int for _, _, value in found) or sorted(found) != sorted(wanted):
        raise _other("other predicates than were asked")


def _other(what: str) -> CredentialInvalid:
    return CredentialInvalid("not-proved", f"expected the answer to the request, got {what}")
