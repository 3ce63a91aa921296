"""The digital envelope: what goes in comes out, and nothing else opens."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchange.delivery.envelope import PIECE_SIZE, SEALED_SIZE, Head, open_envelope, seal_envelope
from exchange.errors import InvalidRequest, SealBroken

SIZES = (0, 1, PIECE_SIZE - 1, PIECE_SIZE, PIECE_SIZE + 1, 3 * PIECE_SIZE + 7)


def sealed(content: bytes, parts: int = 1) -> tuple[Head, bytes]:
    out = io.BytesIO()
    step = max(1, len(content) // parts)
    cut = [content[at : at + step] for at in range(0, len(content), step)]
    return seal_envelope(cut, out, name="table.csv", media="text/csv", mark="none"), out.getvalue()


def opened(head: Head, envelope: bytes, folder: Path) -> bytes:
    path = folder / "envelope"
    path.write_bytes(envelope)
    return b"".join(open_envelope(head, path))


@pytest.mark.parametrize("size", SIZES)
def test_what_was_sealed_is_opened(size: int, tmp_path: Path) -> None:
    content = bytes(i * 31 % 251 for i in range(size))
    head, envelope = sealed(content, parts=3)
    assert head.size == size
    assert opened(Head.decode(head.encode()), envelope, tmp_path) == content
    if size >= 16:
        assert content[:16] not in envelope


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(parts=st.lists(st.binary(max_size=200), max_size=8))
def test_how_a_content_is_cut_does_not_matter(parts: list[bytes], tmp_path: Path) -> None:
    out = io.BytesIO()
    head = seal_envelope(parts, out, name="x", media="text/csv", mark="none")
    assert opened(head, out.getvalue(), tmp_path) == b"".join(parts)


def _flip(at: int) -> Callable[[bytes], bytes]:
    return lambda raw: raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


@pytest.mark.parametrize(
    "change",
    [
        _flip(0),
        _flip(SEALED_SIZE),
        _flip(-1 + 2 * SEALED_SIZE),
        lambda raw: raw[:-1],
        lambda raw: raw + b"\0",
        lambda raw: raw[:SEALED_SIZE],
        lambda raw: raw[SEALED_SIZE:],
        lambda raw: raw[SEALED_SIZE : 2 * SEALED_SIZE] + raw[:SEALED_SIZE] + raw[2 * SEALED_SIZE :],
        lambda raw: raw[:SEALED_SIZE] + raw,
        lambda _: b"",
    ],
    ids=["first", "second", "tag", "short", "long", "one", "headless", "swapped", "repeated", "empty"],
)
def test_an_altered_envelope_does_not_open(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    head, envelope = sealed(bytes(3 * PIECE_SIZE - 5))
    with pytest.raises(SealBroken):
        opened(head, change(envelope), tmp_path)


def test_another_head_does_not_open_it(tmp_path: Path) -> None:
    head, envelope = sealed(b"one")
    other, _ = sealed(b"one")
    with pytest.raises(SealBroken):
        opened(other, envelope, tmp_path)
    assert opened(head, envelope, tmp_path) == b"one"


def test_a_head_that_lies_on_its_content_is_found_out(tmp_path: Path) -> None:
    head, envelope = sealed(b"one")
    lying = Head(**{**vars(head), "content": "0" * 64})
    with pytest.raises(SealBroken, match="the content that the head names"):
        opened(lying, envelope, tmp_path)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"v": 2}, InvalidRequest),
        ({"name": "../../etc/passwd"}, InvalidRequest),
        ({"name": ""}, InvalidRequest),
        ({"media": "text/html\r\nX: y"}, InvalidRequest),
        ({"size": -1}, InvalidRequest),
        ({"size": 5 * PIECE_SIZE}, SealBroken),
        ({"more": 1}, InvalidRequest),
    ],
)
def test_a_malformed_head_is_refused(change: dict[str, object], error: type[Exception]) -> None:
    from ledger import canonical

    head, _ = sealed(b"one")
    with pytest.raises(error):
        Head.decode(canonical.encode({**vars(head), **change}))


def test_the_key_is_not_shown() -> None:
    head, _ = sealed(b"one")
    assert head.key not in repr(head)
