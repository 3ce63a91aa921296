"""What the credentials of an exchange say: one frozen record for each type, its JSON Schema made from it.

The set is closed. A credential of another type, or whose subject has a member more or less, is refused: what
nobody here understands is not believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Any, Protocol

from exchange.credentials.documents import Document
from exchange.credentials.errors import CredentialInvalid
from exchange.errors import InvalidRequest
from exchange.web.kinds import Rule, kind_of

__all__ = [
    "CONTEXTS",
    "KINDS",
    "PROFILE",
    "Auditor",
    "ComputationReceipt",
    "DataSourceReview",
    "JobInput",
    "JobStep",
    "Membership",
    "RegulatedInstitution",
    "Subject",
    "context_document",
    "read_subject",
    "schema_document",
    "schema_id",
    "subject_document",
]

PROFILE = "https://w3id.org/parley/credentials/1"
CONTEXTS = ("https://www.w3.org/ns/credentials/v2", f"{PROFILE}/context.jsonld")
"""The contexts of every credential, exactly these. They are never fetched: their words are those below."""

_DID = Rule("a DID", pattern=r"did:[a-z0-9]+:[!-~]{1,400}")
_NAME = Rule("a short name", minimum=1, maximum=64)
_LINE = Rule("a line of text", minimum=1, maximum=256)
_DIGEST = Rule("a SHA-256 in lower-case hex", pattern="[0-9a-f]{64}")
_ASSET = Rule("an asset id", pattern="[a-z0-9][a-z0-9-]{0,62}/[a-z0-9][a-z0-9-]{0,62}")
_URN = Rule("a URN of Parley", pattern=r"urn:parley:[a-z]+:[!-~]{1,200}")
_JOB = Rule("a job id", pattern="job-[0-7][0-9a-z]{25}")
_COUNT = Rule("a count", minimum=0)
_MANY = Rule("a list", maximum=64)


class Subject(Protocol):
    """What every subject has: whom it is about, and which network it counts in."""

    @property
    def id(self) -> str:
        """A DID, or a URN of Parley."""

    @property
    def genesis(self) -> str:
        """Hash of the network's first entry, so that it counts in no other network."""


@dataclass(frozen=True)
class Membership:
    """An organisation whose real name was checked, and which may be a member of the network."""

    id: Annotated[str, _DID]
    genesis: Annotated[str, _DIGEST]
    name: Annotated[str, _LINE]
    role: Annotated[str, _NAME]


@dataclass(frozen=True)
class RegulatedInstitution:
    """An organisation that holds a licence of a supervisor."""

    id: Annotated[str, _DID]
    genesis: Annotated[str, _DIGEST]
    name: Annotated[str, _LINE]
    licence: Annotated[str, _LINE]
    authority: Annotated[str, _LINE]


@dataclass(frozen=True)
class Auditor:
    """An organisation that may audit the network."""

    id: Annotated[str, _DID]
    genesis: Annotated[str, _DIGEST]
    name: Annotated[str, _LINE]
    scope: Annotated[str, _LINE]


@dataclass(frozen=True)
class DataSourceReview:
    """A data source whose origin and lawful basis were reviewed."""

    id: Annotated[str, _URN]
    genesis: Annotated[str, _DIGEST]
    asset: Annotated[str, _ASSET]
    owner: Annotated[str, _DID]
    basis: Annotated[str, _LINE]


@dataclass(frozen=True)
class JobStep:
    """A step of a completed job as its parties' receipts state it."""

    step: Annotated[str, _NAME]
    party: Annotated[str, _DID]
    protocol: Annotated[str, _LINE]
    code: Annotated[str, _DIGEST]
    params: Annotated[str, _DIGEST]
    output: Annotated[str, _DIGEST]
    receipt: Annotated[str, _DIGEST]


@dataclass(frozen=True)
class JobInput:
    """A version of an asset that went into a job."""

    asset: Annotated[str, _ASSET]
    version: Annotated[int, _COUNT]
    root: Annotated[str, _DIGEST]


@dataclass(frozen=True)
class ComputationReceipt:
    """A completed job as the ledger has it: agreements, code, data and result, all by digest."""

    id: Annotated[str, _URN]
    genesis: Annotated[str, _DIGEST]
    job: Annotated[str, _JOB]
    submitter: Annotated[str, _DID]
    purpose: Annotated[str, _LINE]
    spec: Annotated[str, _DIGEST]
    agreements: Annotated[tuple[Annotated[str, _LINE], ...], _MANY]
    steps: Annotated[tuple[JobStep, ...], Rule("receipts", maximum=4096)]
    inputs: Annotated[tuple[JobInput, ...], Rule("inputs", maximum=4096)]
    result: Annotated[str, _DIGEST]
    completed: Annotated[int, _COUNT]
    txid: Annotated[str, _DIGEST]


KINDS: Mapping[str, type] = MappingProxyType(
    {
        "MembershipCredential": Membership,
        "RegulatedInstitutionCredential": RegulatedInstitution,
        "AuditorCredential": Auditor,
        "DataSourceReviewCredential": DataSourceReview,
        "ComputationReceiptCredential": ComputationReceipt,
    }
)


def context_document() -> bytes:
    """Read the JSON-LD context, as it is named by the second of ``CONTEXTS``."""
    return resources.files(__package__).joinpath("context.jsonld").read_bytes()


def schema_id(kind: str) -> str:
    """Return the address that names the JSON Schema of a type; it is known, never fetched."""
    return f"{PROFILE}/{kind}.json"


def schema_document(kind: str) -> Document:
    """Return the JSON Schema of a credential's subject."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": schema_id(kind),
        "type": "object",
        "properties": {"credentialSubject": kind_of(KINDS[kind]).schema()},
        "required": ["credentialSubject"],
    }


def read_subject(kind: str, value: object) -> Subject:
    """Read a subject strictly.

    Raises:
        CredentialInvalid: an unknown type, or not of its schema; the message names the member, not its value.
    """
    if kind not in KINDS:
        raise CredentialInvalid("unknown-type", f"expected one of {', '.join(KINDS)}")
    try:
        subject: Subject = kind_of(KINDS[kind]).read(value, "credentialSubject")
    except InvalidRequest as error:
        raise CredentialInvalid("schema", f"{error.field}: expected {error.expected}") from error
    return subject


def subject_document(subject: Subject) -> dict[str, Any]:
    """Write a subject as JSON."""
    document: dict[str, Any] = _plain(asdict(subject))  # type: ignore[call-overload]  # all are dataclasses
    return document


def _plain(value: object) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
