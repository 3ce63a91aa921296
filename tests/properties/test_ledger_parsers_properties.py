"""Whatever bytes come from outside: a parser reads them as they are written, or raises what it promises."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchange.errors import InvalidRequest
from exchange.hub import setup
from exchange.identity import NodeKeys
from ledger.testing.parsers import Parser, parsers

TOKENS = (
    b"\n", b"\n\n", b" ", b"+", b"=", b"\x00", b"\xff", b"\x80", "— ".encode(), b"0", b"-1", b"00",
    b"18446744073709551616", b"{}", b"[]", b"null", b'"', b"\\u0000", b"1e9", b"AAAA", b"old ", b"index ",
    b"extra ", b"quorum none\n", "e\u0301".encode(),
)  # fmt: skip

BY_NAME = [
    "note", "signature line", "verifier key", "checkpoint", "proof", "policy", "tiles", "witness request",
    "witness answer", "upload", "mirror info", "canonical", "base64url", "entry", "did:key", "act",
    "notarization proof", "verdict", "container", "bundle",
]  # fmt: skip
SLOW = {"act", "bundle", "container"}


def parser(name: str) -> Parser:
    return next(one for one in parsers() if one.name == name)


@st.composite
def mutated(draw: st.DrawFn, samples: tuple[bytes, ...]) -> bytes:
    """A valid sample with a few bits flipped, pieces cut, repeated, swapped with another sample or put in."""
    data = draw(st.sampled_from(samples))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 64)))
        match draw(st.integers(0, 6)):
            case 0 if start < len(data):
                flipped = data[start] ^ (1 << draw(st.integers(0, 7)))
                data = data[:start] + bytes([flipped]) + data[start + 1 :]
            case 1:
                data = data[:start] + data[stop:]
            case 2:
                data = data[:stop] + data[start:]
            case 3:
                data = data[:start] + draw(st.sampled_from(TOKENS)) + data[stop:]
            case 4:
                data = data[:start] + draw(st.binary(max_size=8)) + data[stop:]
            case 5:
                other = draw(st.sampled_from(samples))
                data = data[:start] + other[draw(st.integers(0, len(other))) :]
            case _:
                data = data[:start]
    return data


def test_every_parser_is_here() -> None:
    assert [one.name for one in parsers()] == BY_NAME


@pytest.mark.parametrize("name", BY_NAME)
def test_samples_are_read_and_written_back(name: str) -> None:
    one = parser(name)
    for sample in one.samples:
        one.check(sample)
        if name != "act":
            one.parse(sample)


@pytest.mark.parametrize("name", BY_NAME)
def test_mutations_raise_only_what_is_promised(name: str) -> None:
    one = parser(name)

    @settings(max_examples=40 if name in SLOW else 150, suppress_health_check=list(HealthCheck))
    @given(mutated(one.samples))
    def check(data: bytes) -> None:
        one.check(data)

    check()


@pytest.mark.parametrize("name", BY_NAME)
def test_any_bytes_raise_only_what_is_promised(name: str) -> None:
    one = parser(name)

    @settings(max_examples=20 if name in SLOW else 60)
    @given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode(errors="replace")))
    def check(data: bytes) -> None:
        one.check(data)

    check()


def test_drafts_of_a_genesis_raise_only_what_is_promised(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("hub") / "data"
    from exchange.hub.testing import found

    founded = found(directory, "lender", "bureau")
    keys = NodeKeys.generate("lender", "example", "127.0.0.1")
    enrolments = [
        member.enrolment(member.member_record("participant", member.name, "127.0.0.1:1"))
        for member in founded.members.values()
    ]
    draft = setup.draft_genesis(directory, enrolments, "for tests only")
    signed = setup.add_signature(draft, founded.members["lender"])
    assert setup.add_signature(signed, founded.members["lender"]) == signed

    @settings(max_examples=100, suppress_health_check=list(HealthCheck))
    @given(mutated((draft, signed)) | st.binary(max_size=100))
    def check(data: bytes) -> None:
        for member in (keys, founded.members["bureau"]):
            try:
                setup.add_signature(data, member)
            except InvalidRequest:
                continue

    check()
