from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exchange.errors import ExchangeError, public_face
from exchange.rpc.channel import SessionKey
from exchange.rpc.errors import ChannelTimeout, ClockSkew, PeerRefused, PeerUnreachable
from mpc.errors import ChannelBroken

ROOT = Path(__file__).resolve().parents[3]
KEY = SessionKey("job-1", "ab" * 32, 1, ("did:a", "did:b"))


def test_a_session_is_32_bytes_and_stable() -> None:
    assert KEY.digest().hex() == "acf2ac3c8880ad15151973a0471fd8a65002b910416ada8b7d13f7deb487adbe"


@pytest.mark.parametrize(
    "other",
    [
        SessionKey("job-2", "ab" * 32, 1, ("did:a", "did:b")),
        SessionKey("job-1", "ac" * 32, 1, ("did:a", "did:b")),
        SessionKey("job-1", "ab" * 32, 2, ("did:a", "did:b")),
        SessionKey("job-1", "ab" * 32, 1, ("did:a", "did:c")),
        SessionKey("job-1", "ab" * 32, 1, ("did:a", "did:b", "did:c")),
    ],
)
def test_every_part_makes_another_session(other: SessionKey) -> None:
    assert other.digest() != KEY.digest()


@pytest.mark.parametrize("parties", [("did:b", "did:a"), ("did:a", "did:a")])
def test_parties_are_sorted_and_distinct(parties: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="sorted"):
        SessionKey("job-1", "ab" * 32, 1, parties)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PeerUnreachable("did:b", "host:1", "nothing listens there"), 503),
        (PeerRefused("did:b", "not expected"), 502),
        (ClockSkew("did:b", datetime(2026, 1, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), 120), 502),
        (ChannelTimeout("silent"), 504),
    ],
)
def test_errors_have_a_public_face(error: ExchangeError, status: int) -> None:
    face = public_face(error)
    assert (face.status, face.code) == (status, error.code)
    assert face.detail == str(error)


def test_clock_skew_says_both_times() -> None:
    error = ClockSkew("did:b", datetime(2026, 1, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), 120)
    assert str(error) == (
        "expected clocks within 120 s of each other: this node has 2026-01-01T01:00:00Z, "
        "did:b has 2026-01-01T00:00:00Z"
    )


def test_a_channel_time_out_is_a_broken_channel() -> None:
    assert issubclass(ChannelTimeout, ChannelBroken)


def test_the_committed_stubs_are_those_of_the_proto_file() -> None:
    checked = subprocess.run(
        [sys.executable, "-P", str(ROOT / "scripts" / "proto.py"), "--check"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": ""},
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
