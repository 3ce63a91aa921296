"""Every error states its code, blame and whether to retry; none shows what it must not."""

from __future__ import annotations

import re

import mpc
from mpc import errors


def leaves(root: type[errors.MpcError]) -> set[type[errors.MpcError]]:
    """The root and its descendants in this package; others may derive theirs from these."""
    own = {child for child in root.__subclasses__() if child.__module__ == root.__module__}
    return {root, *(leaf for child in own for leaf in leaves(child))}


def test_every_error_is_listed_and_has_code_blame_and_retryable() -> None:
    found = leaves(errors.MpcError)
    assert {error.__name__ for error in found} | {"Blame"} == set(errors.__all__)
    for error in found:
        assert re.fullmatch(r"mpc\.[a-z-]+", error.code)
        assert error.blame in {"caller", "peer", "operator", "nobody"}
        assert isinstance(error.retryable, bool)


def test_codes_are_unique() -> None:
    codes = [error.code for error in leaves(errors.MpcError)]
    assert len(codes) == len(set(codes))


def test_messages_say_expected_and_actual() -> None:
    assert str(errors.InputsDisagree("rows", 3, 4)) == "rows: own side has 3, the other party has 4"
    assert str(errors.UnexpectedMessage("a", "b")) == "expected message 'a', got 'b'"
    assert str(errors.PeerAborted("mpc.abort")) == "the other party aborted: mpc.abort"
    assert str(errors.DuplicateItems(2)) == "items must be distinct: 2 rows repeat an earlier one"
    assert "at least 5 rows, 1 cohorts" in str(errors.CohortTooSmall(5, 1))


def test_the_package_exports_what_it_says() -> None:
    assert mpc.__all__ == sorted(mpc.__all__, key=lambda name: (not name.isupper(), name))
    assert set(mpc.__all__) == {
        "PROTOCOLS",
        "Adversary",
        "Channel",
        "ChannelStats",
        "MpcError",
        "ProtocolAbort",
        "ProtocolSpec",
        "Randomness",
        "SystemRandomness",
    }
    assert all(hasattr(mpc, name) for name in mpc.__all__)
