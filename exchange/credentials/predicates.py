"""Predicate proofs about attributes that an issuer vouched for: AnonCreds, by the kept library ``anoncreds``.

A holder shows that an attribute is at least, or at most, a number, and nothing else about it: Camenisch and
Lysyanskaya's signatures with range proofs, as AnonCreds 1.0 specifies them. Each presentation is made anew
for one request and its nonce, and two of them cannot be linked.

The library's verification alone is not enough. As of 0.2 it does not compare the predicates in the proof with
those in the request, nor the raw value of a revealed attribute with the one that is signed. ``check`` does
both, and binds each range proof to its attribute by their common response; tests play the attacks.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, Final

from exchange.credentials import presentations
from exchange.credentials.errors import CredentialInvalid, PredicatesUnavailable
from exchange.credentials.presentations import LARGEST_INTEGER, Asked
from ledger.tables import Row

__all__ = [
    "VALID_UNTIL",
    "Definition",
    "Issued",
    "Private",
    "ask",
    "check",
    "define",
    "issue",
    "new_link_secret",
    "offer",
    "prove",
    "request_credential",
    "store",
]

VALID_UNTIL: Final = "valid-until"
"""Attribute of every credential: the last day on which it counts, as the number YYYYMMDD."""

_NONCE_BITS = 80
_TAG = "parley"


@dataclass(frozen=True)
class Definition:
    """A public key for attributes, as the ledger has it.

    Attributes:
        definition: its id.
        issuer: DID of whom it belongs to.
        name, version: of the set of attributes.
        attributes: their names; ``valid-until`` is the last one.
        key: the key in the library's form.
    """

    definition: str
    issuer: str
    name: str
    version: str
    attributes: tuple[str, ...]
    key: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, row: Row) -> Definition:
        """From a row of the table ``definitions``, or from a file that an issuer wrote."""
        try:
            return cls(
                row["definition"],
                row["issuer"],
                row["name"],
                row["version"],
                tuple(row["attributes"]),
                row["key"],
            )
        except (KeyError, TypeError) as error:
            raise CredentialInvalid("malformed", "expected a definition of attributes") from error

    @property
    def uri(self) -> str:
        """Its name inside the library's documents."""
        return f"{self.issuer}/anoncreds/{self.definition}"

    @property
    def schema_uri(self) -> str:
        """The name of its schema there."""
        return f"{self.issuer}/anoncreds/{self.name}/{self.version}"

    def as_json(self) -> dict[str, Any]:
        """As a holder's file has it."""
        return {
            "definition": self.definition,
            "issuer": self.issuer,
            "name": self.name,
            "version": self.version,
            "attributes": list(self.attributes),
            "key": dict(self.key),
        }

    def schema(self) -> Any:  # noqa: ANN401 - the library has no types
        """The schema in the library's form."""
        return _lib().Schema.create(self.name, self.version, self.issuer, list(self.attributes))


@dataclass(frozen=True)
class Private:
    """What the issuer keeps of a definition; both are secret or worth keeping so."""

    key: str = field(repr=False)
    proof: str = field(repr=False)


@dataclass(frozen=True)
class Issued:
    """A credential in a holder's wallet, with the definition it is under."""

    definition: Definition
    credential: str = field(repr=False)


def define(
    definition: str, issuer: str, name: str, version: str, attributes: Sequence[str]
) -> tuple[Definition, Private]:
    """Make a key for attributes; takes some seconds, since it looks for safe primes."""
    lib = _lib()
    drawn = Definition(definition, issuer, name, version, (*attributes, VALID_UNTIL), {})
    public, private, proof = lib.CredentialDefinition.create(
        drawn.schema_uri, drawn.schema(), issuer, _TAG, "CL"
    )
    made = Definition(definition, issuer, name, version, drawn.attributes, json.loads(public.to_json()))
    return made, Private(private.to_json(), proof.to_json())


def offer(definition: Definition, private: Private) -> str:
    """Offer a credential, as the issuer; the answer holds a nonce."""
    made: str = _lib().CredentialOffer.create(definition.schema_uri, definition.uri, private.proof).to_json()
    return made


def new_link_secret() -> str:
    """Draw the secret that binds credentials to one wallet."""
    drawn: str = _lib().create_link_secret()
    return drawn


def request_credential(definition: Definition, offered: str, link_secret: str) -> tuple[str, str]:
    """Ask for an offered credential, as the holder; the link secret goes in blinded.

    Returns:
        The request, and what the holder keeps until the credential comes.
    """
    with _refusing("offer"):
        request, kept = _lib().CredentialRequest.create(
            secrets.token_hex(16), None, dict(definition.key), link_secret, "parley", offered
        )
        return request.to_json(), kept.to_json()


def issue(
    definition: Definition, private: Private, offered: str, request: str, values: Mapping[str, int | str]
) -> str:
    """Sign a holder's attributes, as the issuer.

    Args:
        definition: under this one.
        private: its private half.
        offered: the offer that the request answers.
        request: from the holder.
        values: of every attribute: texts, or integers below 2^31, about which predicates can be proved.

    Raises:
        CredentialInvalid: other attributes than the definition's, or the request does not answer the offer.
    """
    if set(values) != set(definition.attributes):
        raise CredentialInvalid("attributes", f"expected the attributes {', '.join(definition.attributes)}")
    for name, value in values.items():
        if isinstance(value, bool) or (isinstance(value, int) and abs(value) > LARGEST_INTEGER):
            raise CredentialInvalid("attributes", f"{name}: expected an integer below 2^31, or a text")
    with _refusing("request"):
        raw = {name: str(value) for name, value in values.items()}
        made: str = (
            _lib().Credential.create(dict(definition.key), private.key, offered, request, raw).to_json()
        )
        return made


def store(definition: Definition, credential: str, kept: str, link_secret: str) -> Issued:
    """Check and unblind a credential, as its holder.

    Raises:
        CredentialInvalid: it was not made for this wallet's request, or by another key.
    """
    lib = _lib()
    with _refusing("credential"):
        found = lib.Credential.load(credential).process(kept, link_secret, dict(definition.key))
        return Issued(definition, found.to_json())


def ask(asked: Asked, definitions: Iterable[Definition]) -> dict[str, Any]:
    """Write the request of an eligibility check, with a fresh nonce.

    Raises:
        CredentialInvalid: an attribute that its definition does not have.
    """
    uris = {}
    for definition in definitions:
        uris[definition.definition] = definition.uri
        for name in asked.attributes_of(definition.definition):
            if name not in definition.attributes:
                raise CredentialInvalid("attributes", f"{definition.definition} has no attribute {name}")
    return presentations.request(asked, uris, str(secrets.randbits(_NONCE_BITS)))


def prove(request: Mapping[str, Any], issued: Sequence[Issued], link_secret: str) -> str:
    """Prove what a request asks, as the holder, who sees it in ``request``.

    Args:
        request: from the verifier.
        issued: the wallet's credentials; of each definition the first is used.
        link_secret: of the wallet.

    Raises:
        CredentialInvalid: a credential is missing, or a predicate does not hold.
    """
    lib = _lib()
    by_uri = {one.definition.uri: one for one in reversed(issued)}
    wanted = lib.PresentCredentials()
    schemas, keys = {}, {}
    for uri, predicates, revealed in presentations.referents(request):
        one = by_uri.get(uri)
        if one is None:
            raise CredentialInvalid("no-credential", f"expected a credential under {uri} in the wallet")
        credential = lib.Credential.load(one.credential)
        wanted.add_predicates(credential, *predicates)
        if revealed:
            wanted.add_attributes(credential, *revealed)
        schemas[one.definition.schema_uri] = one.definition.schema()
        keys[uri] = dict(one.definition.key)
    with _refusing("predicate"):
        loaded = lib.PresentationRequest.load(dict(request))
        made: str = lib.Presentation.create(loaded, wanted, {}, link_secret, schemas, keys).to_json()
        return made


def check(presentation: str, request: Mapping[str, Any], definitions: Sequence[Definition]) -> dict[str, str]:
    """Check a presentation against the request it answers.

    Args:
        presentation: from the holder.
        request: exactly as it was sent.
        definitions: all that the request names, as the ledger has them.

    Returns:
        The attributes that the request asked to reveal, by referent.

    Raises:
        CredentialInvalid: it proves nothing, or something else; ``reason`` is ``malformed`` or
        ``not-proved``.
    """
    lib = _lib()
    shown = presentations.read(presentation)
    revealed = presentations.check_answers(shown, request, {one.uri: one.schema_uri for one in definitions})
    for name, (raw, encoded) in revealed.items():
        if lib.encode_credential_attributes({"value": raw})["value"] != encoded:
            raise CredentialInvalid("not-proved", f"{name}: expected the value that is signed")
    schemas = {one.schema_uri: one.schema() for one in definitions}
    keys = {one.uri: dict(one.key) for one in definitions}
    with _refusing("proof"):
        loaded = lib.PresentationRequest.load(dict(request))
        holds = lib.Presentation.load(shown).verify(loaded, schemas, keys)
    if holds is not True:
        raise CredentialInvalid("not-proved", "the proof does not verify")
    return {name: raw for name, (raw, _) in revealed.items()}


class _refusing:  # noqa: N801 - reads as a sentence after ``with``
    """Turn the library's errors into ours; its texts may hold values, so they are not passed on."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _lib().AnoncredsError | ValueError | KeyError | TypeError):
            reason = "not-proved" if self._what in ("proof", "predicate") else "malformed"
            raise CredentialInvalid(reason, f"expected another {self._what}: it does not fit") from None


@cache
def _lib() -> Any:  # noqa: ANN401 - a module without types
    try:
        return import_module("anoncreds")
    except (ModuleNotFoundError, OSError) as error:
        raise PredicatesUnavailable(
            "predicate proofs need a package: pip install '.[predicates]', then start again"
        ) from error
