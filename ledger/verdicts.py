"""Three-way verification: what the ledger has on record, the original, and the copy that is presented.

``compare`` is the rule: it looks at three fingerprints and says which differ from which. A ``Verdict`` is the
outcome as a document that the verifying member signs, so that whoever gets it can hold that member to it
without asking anybody. It binds the copy's fingerprint, the proof that came with it, the time and, where the
asker gave one, a challenge; so it cannot be passed off as one about another copy or a later day. On the
ledger, the entry ``evidence.verdict`` commits to the whole document with a salt that stands in it.

Not here: whether the document says the truth. A verdict is about bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from ledger import algorithms, base64url, canonical
from ledger.algorithms import ALGORITHMS, EDDSA, Signer
from ledger.canonical import JsonValue
from ledger.commitments import commit
from ledger.errors import InvalidNotarization, InvalidSignature, InvalidVerdict, NotCanonical, Refusal
from ledger.membership import KeyRecord
from ledger.notarization import Proof
from ledger.rules import shapes
from ledger.rules.evidence import Outcome

__all__ = ["VERDICT", "Comparison", "Finding", "Outcome", "Verdict", "compare"]

VERDICT = "evidence.verdict"

_DOMAIN = b"parley-verdict/v1\n"
_VERSION = 1
_MAX_SIZE = 16 * 1024


class Finding(StrEnum):
    """What a pair of fingerprints shows."""

    SAME = "same"
    DIFFERENT = "different"
    NOT_COMPARED = "not-compared"
    """The original was not at hand."""
    UNPROVEN = "unproven"
    """The ledger has no record of what the proof claims."""


@dataclass(frozen=True)
class Comparison:
    """The three pairs and what they come to."""

    ledger_original: Finding
    ledger_copy: Finding
    original_copy: Finding
    outcome: Outcome

    def findings(self) -> dict[str, str]:
        """Return the pairs by name, as a verdict states them."""
        return {
            "ledger-original": str(self.ledger_original),
            "ledger-copy": str(self.ledger_copy),
            "original-copy": str(self.original_copy),
        }


def compare(ledger: bytes | None, original: bytes | None, copy: bytes) -> Comparison:
    """Compare three fingerprints.

    Args:
        ledger: the one on record; None if the proof does not lead to the ledger.
        original: that of the original; None if it is not at hand, which makes the comparison two-way.
        copy: that of the copy presented.
    """
    if ledger is None:
        unproven = Finding.UNPROVEN
        ledger_original = Finding.NOT_COMPARED if original is None else unproven
        return Comparison(ledger_original, unproven, _pair(original, copy), Outcome.UNPROVEN)
    ledger_original, ledger_copy = _pair(original, ledger), _pair(ledger, copy)
    original_copy = _pair(original, copy)
    match (ledger_original, ledger_copy, original_copy):
        case (Finding.SAME | Finding.NOT_COMPARED, Finding.SAME, _):
            outcome = Outcome.AUTHENTIC
        case (Finding.SAME | Finding.NOT_COMPARED, _, _):
            outcome = Outcome.COPY_DIFFERS
        case (_, Finding.SAME, _):
            outcome = Outcome.ORIGINAL_DIFFERS
        case (_, _, Finding.SAME):
            outcome = Outcome.LEDGER_DIFFERS
        case _:
            outcome = Outcome.ALL_DIFFER
    return Comparison(ledger_original, ledger_copy, original_copy, outcome)


def _pair(one: bytes | None, other: bytes) -> Finding:
    if one is None:
        return Finding.NOT_COMPARED
    return Finding.SAME if one == other else Finding.DIFFERENT


_NOTARIZED = shapes.record({"actor": shapes.DID, "time": shapes.TIME})
_DOCUMENT = shapes.record(
    {
        "v": shapes.constant(_VERSION),
        "verdict": shapes.identifier("verdict"),
        "genesis": shapes.DIGEST,
        "proof": shapes.OBJECT,
        "notarized": shapes.optional(_NOTARIZED),
        "original": shapes.optional(shapes.DIGEST),
        "copy": shapes.DIGEST,
        "findings": shapes.record(
            dict.fromkeys(("ledger-original", "ledger-copy", "original-copy"), shapes.one_of(*Finding))
        ),
        "outcome": shapes.one_of(*Outcome),
        "reason": shapes.optional(shapes.SENTENCE),
        "size": shapes.COUNT,
        "time": shapes.TIME,
        "operator": shapes.SENTENCE,
        "challenge": shapes.optional(shapes.SENTENCE),
        "salt": shapes.DIGEST,
        "verifier": shapes.record({"did": shapes.DID, "kid": shapes.SENTENCE}),
        "alg": shapes.one_of(*ALGORITHMS),
        "sig": shapes.BYTES,
    }
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a member found about a copy, and its signature.

    Attributes:
        verdict: the id of this document.
        genesis: names the ledger that the verifier looked at.
        proof: what was presented with the copy; its digest is the fingerprint on record, if it holds.
        actor: who notarized it, and time_on_record: when, from the ledger; both None where it is unproven.
        original: fingerprint of the original; None where it was not at hand.
        copy: fingerprint of the copy.
        reason: why it is unproven; None otherwise.
        size: how many final entries the verifier had.
        time: when it looked.
        operator: the person at the verifier's node who asked.
        challenge: what the asker gave to know the verdict is fresh.
        salt: 32 random bytes that make the commitment on the ledger unguessable.
        did: the verifying member; kid: its key.
        alg: the algorithm of that key; sig: 64 bytes.
    """

    verdict: str
    genesis: str
    proof: Proof
    actor: str | None
    time_on_record: str | None
    original: bytes | None
    copy: bytes
    reason: str | None
    size: int
    time: str
    operator: str
    challenge: str | None
    salt: bytes = field(repr=False)
    did: str
    kid: str
    alg: str = EDDSA
    sig: bytes = field(default=b"", repr=False)

    @property
    def comparison(self) -> Comparison:
        """The pairs and the outcome, which follow from the fingerprints."""
        return compare(None if self.reason is not None else self.proof.digest, self.original, self.copy)

    def sign(self, key: Signer) -> Verdict:
        """Return the verdict with the verifier's signature."""
        draft = replace(self, alg=key.alg)
        return replace(draft, sig=key.sign(draft.signed_bytes()))

    def signed_bytes(self) -> bytes:
        """Return what the verifier signs."""
        document = self.as_json()
        del document["sig"]
        return _DOMAIN + canonical.encode(document)

    def body(self) -> dict[str, JsonValue]:
        """Return the body of the entry ``evidence.verdict``."""
        return {
            "verdict": self.verdict,
            "notarization": self.proof.notarization,
            "entry": self.proof.place.txid,
            "outcome": str(self.comparison.outcome),
        }

    def commitment(self) -> str:
        """Return what that entry commits to: the signed document, with its own salt."""
        return commit(self.encode(), self.salt)[0]

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as the object that a ``.parley-verdict`` file holds."""
        comparison = self.comparison
        notarized = None if self.actor is None else {"actor": self.actor, "time": self.time_on_record}
        return {
            "v": _VERSION,
            "verdict": self.verdict,
            "genesis": self.genesis,
            "proof": self.proof.as_json(),
            "notarized": notarized,
            "original": None if self.original is None else self.original.hex(),
            "copy": self.copy.hex(),
            "findings": comparison.findings(),
            "outcome": str(comparison.outcome),
            "reason": self.reason,
            "size": self.size,
            "time": self.time,
            "operator": self.operator,
            "challenge": self.challenge,
            "salt": self.salt.hex(),
            "verifier": {"did": self.did, "kid": self.kid},
            "alg": self.alg,
            "sig": base64url.encode(self.sig),
        }

    def encode(self) -> bytes:
        """Write a ``.parley-verdict`` file: canonical JSON."""
        return canonical.encode(self.as_json())

    @classmethod
    def parse(cls, data: bytes) -> Verdict:
        """Read a ``.parley-verdict`` file.

        Raises:
            InvalidVerdict: another form, or an outcome that does not follow from its fingerprints.
        """
        if len(data) > _MAX_SIZE:
            raise InvalidVerdict("verdict", f"expected at most {_MAX_SIZE} bytes, got {len(data)}")
        try:
            found: Mapping[str, Any] = _DOCUMENT(canonical.decode(data), "verdict")
            proof = Proof.of(found["proof"])
        except (NotCanonical, Refusal, InvalidNotarization) as exc:
            raise InvalidVerdict("verdict", str(exc)) from exc
        notarized = found["notarized"]
        verdict = cls(
            verdict=found["verdict"],
            genesis=found["genesis"],
            proof=proof,
            actor=None if notarized is None else notarized["actor"],
            time_on_record=None if notarized is None else notarized["time"],
            original=None if found["original"] is None else bytes.fromhex(found["original"]),
            copy=bytes.fromhex(found["copy"]),
            reason=found["reason"],
            size=found["size"],
            time=found["time"],
            operator=found["operator"],
            challenge=found["challenge"],
            salt=bytes.fromhex(found["salt"]),
            did=found["verifier"]["did"],
            kid=found["verifier"]["kid"],
            alg=found["alg"],
            sig=base64url.decode(found["sig"]),
        )
        if (verdict.reason is None) == (notarized is None):
            raise InvalidVerdict("notarized", "expected who and when, or the reason why it is unproven")
        if verdict.encode() != data:
            raise InvalidVerdict("outcome", "expected findings and outcome that follow from the fingerprints")
        return verdict

    def check_signature(self, keys: Iterable[KeyRecord | None]) -> None:
        """Check that the verifier's key signed this.

        Args:
            keys: the entry keys that the verifier had when it looked, two of them while one replaced the
                other; None stands for no key.

        Raises:
            InvalidVerdict: none of them did.
        """
        key = next((key for key in keys if key and (key.kid, key.alg) == (self.kid, self.alg)), None)
        if key is None:
            raise InvalidVerdict("verifier", "expected a member and its entry key at that size")
        try:
            algorithms.verify(key.alg, key.public, self.signed_bytes(), self.sig)
        except InvalidSignature as exc:
            raise InvalidVerdict("sig", str(exc)) from exc
