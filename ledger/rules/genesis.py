"""The genesis: the entry at index 0 that founds a network."""

from __future__ import annotations

from ledger.errors import InvalidSignature, MalformedKey, Refusal
from ledger.membership import ALGORITHMS_KEY, NETWORK_KEY, VOTING_KEY, KeyRecord
from ledger.notes import ED25519, Vkey
from ledger.rules import shapes
from ledger.rules.act import Act, require
from ledger.rules.enrolment import ENROLMENT, KEY, check_enrolment, check_key, check_new
from ledger.rules.members import admit
from ledger.tables import State

__all__ = ["MAX_CLOCK_SKEW_S", "genesis"]

MAX_CLOCK_SKEW_S = 3600
_MAX_FOUNDERS = 60

_GENESIS = shapes.record(
    {
        "name": shapes.SENTENCE,
        "origin": shapes.SENTENCE,
        "log": shapes.text(400),
        "hub": shapes.record({"did": shapes.DID, "name": shapes.NAME, "tx": KEY, "tls": shapes.BYTES}),
        "members": shapes.list_of(ENROLMENT, least=1, most=_MAX_FOUNDERS),
        "params": shapes.record({"max_clock_skew_s": shapes.POSITIVE}),
        "engine": shapes.WORD,
    }
)


def genesis(state: State, act: Act) -> State:
    """Found the network. Signed by the hub and by every founder, at index 0."""
    entry = act.entry
    require(
        act.index == 0 and not state.table_roots(), "genesis.not-first", "expected the genesis at index 0"
    )
    body = _GENESIS(entry.body, "body")
    require(entry.net == body["name"], "entry.wrong-net", "expected the network's own name")
    hub = body["hub"]
    check_key(hub["did"], hub["tx"])
    require(entry.actor == hub["did"], "genesis.wrong-actor", "expected the hub as actor")
    _check_log_key(body["log"], body["origin"])
    skew = body["params"]["max_clock_skew_s"]
    require(
        skew <= MAX_CLOCK_SKEW_S, "genesis.invalid-params", f"expected a skew of at most {MAX_CLOCK_SKEW_S} s"
    )
    network = {
        "name": body["name"],
        "origin": body["origin"],
        "log": body["log"],
        "hub": hub,
        "engine": body["engine"],
        "max_clock_skew_s": skew,
    }
    state = act.put(state, "params", NETWORK_KEY, network)
    state = act.put(state, "params", VOTING_KEY, {"quorum": 0, "veto": "none"})
    state = act.put(state, "params", ALGORITHMS_KEY, {"allowed": [hub["tx"]["alg"]]})
    signers = [KeyRecord.of(hub["tx"])]
    for enrolment in body["members"]:
        member = check_enrolment(body["name"], enrolment)
        check_new(state, member)
        state = admit(state, member, "active", act.index)
        signers.append(KeyRecord.of(member["tx"]))
    _check_signers(act, signers)
    return state


def _check_log_key(text: str, origin: str) -> None:
    try:
        log = Vkey.parse(text)
    except MalformedKey as exc:
        raise Refusal("genesis.invalid-log-key", str(exc)) from exc
    named = log.type == ED25519 and log.name == origin
    require(named, "genesis.invalid-log-key", "expected an Ed25519 log key named after the origin")


def _check_signers(act: Act, signers: list[KeyRecord]) -> None:
    attached = {signature.kid for signature in act.entry.sigs}
    expected = {signer.kid for signer in signers}
    require(attached == expected, "genesis.wrong-signers", "expected the hub and every founder, nobody else")
    for signer in signers:
        try:
            act.entry.verify(signer.kid, signer.public)
        except InvalidSignature as exc:
            raise Refusal(
                "entry.bad-signature", "a founder's or the hub's signature does not verify"
            ) from exc
