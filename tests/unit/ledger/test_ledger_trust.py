"""Policy files: their form, their quorums, and proofs checked by them."""

import pytest

from ledger.checkpoints import Checkpoint, Cosigner
from ledger.errors import InvalidInclusionProof, MalformedNote, MalformedPolicy, UnverifiedNote
from ledger.keys import SigningKey
from ledger.merkle import Tree, leaf_hash
from ledger.mldsa import MlDsaKey
from ledger.notes import COSIGNATURE_V1, ED25519, Note, NoteSignature, Vkey, sign
from ledger.proofs import Proof, verify_proof
from ledger.trust import Group, TrustPolicy, encode_policy

LOG_KEY = SigningKey.from_seed(bytes([1] * 32))
LOG = Vkey("example.org/log", ED25519, LOG_KEY.public)
OTHER_LOG = Vkey("example.org/other", ED25519, SigningKey.from_seed(bytes([9] * 32)).public)
NAMES = ("x1", "x2", "x3", "y1", "y2")
WITNESSES = {
    name: Cosigner(f"{name}.example/w", SigningKey.from_seed(bytes([10 + number] * 32)))
    for number, name in enumerate(NAMES)
}
STRONG = Cosigner("strong.example/w", MlDsaKey.from_seed(bytes([4] * 32)))
LEAVES = [leaf_hash(bytes([index])) for index in range(11)]
TREE = Tree(LEAVES)
CHECKPOINT = Checkpoint(LOG.name, 11, TREE.root())


def policy_text(quorum: str = "both") -> str:
    lines = [f"log {LOG.encode()}  https://log.example/", f"log {OTHER_LOG.encode()}", "", "# the witnesses"]
    lines += [f"\twitness {name} {WITNESSES[name].vkey.encode()} \t" for name in NAMES]
    lines += [
        f"witness strong {STRONG.vkey.encode()} https://strong.example/",
        "group xs 2 x1 x2 x3",
        "group ys any y1 y2",
        "group both all xs ys",
        f"quorum {quorum}",
    ]
    return "".join(f"{line}\n" for line in lines)


def cosigned(*names: str, text: str = CHECKPOINT.encode()) -> Note:
    note = Note(text, (sign(text, LOG.name, LOG_KEY),))
    for name in names:
        note = note.with_signature({**WITNESSES, "strong": STRONG}[name].cosign(text, 1_700_000_000))
    return note


def test_a_policy_reads_as_it_is_written() -> None:
    policy = TrustPolicy.parse(policy_text().encode())
    assert policy.logs == ((LOG, "https://log.example/"), (OTHER_LOG, None))
    assert list(policy.witnesses) == [*NAMES, "strong"]
    assert policy.witnesses["strong"] == (STRONG.vkey, "https://strong.example/")
    assert policy.groups == (
        Group("xs", 2, ("x1", "x2", "x3")),
        Group("ys", 1, ("y1", "y2")),
        Group("both", 2, ("xs", "ys")),
    )
    assert policy.quorum == "both"
    assert TrustPolicy.parse(policy.encode()) == policy


@pytest.mark.parametrize(
    ("quorum", "names", "met"),
    [
        ("both", ("x1", "x2", "y2"), True),
        ("both", ("x1", "x2", "x3", "y1", "y2"), True),
        ("both", ("x1", "y1", "y2"), False),
        ("both", ("x1", "x2", "x3"), False),
        ("xs", ("x3", "x1"), True),
        ("xs", ("x1",), False),
        ("y1", ("y1",), True),
        ("y1", ("y2",), False),
        ("strong", ("strong",), True),
        ("none", (), True),
    ],
)
def test_quorums(quorum: str, names: tuple[str, ...], met: bool) -> None:
    policy = TrustPolicy.parse(policy_text(quorum).encode())
    assert policy.is_met(names) == met
    if met:
        endorsement = policy.check(cosigned(*names))
        assert endorsement.checkpoint == CHECKPOINT
        assert endorsement.log == LOG
        assert endorsement.times == dict.fromkeys(names, 1_700_000_000)
    else:
        with pytest.raises(UnverifiedNote, match="expected the quorum"):
            policy.check(cosigned(*names))


def test_names_that_are_no_witness_do_not_count() -> None:
    policy = TrustPolicy.parse(policy_text("xs").encode())
    assert not policy.is_met(["xs", "both", "nobody"])


def test_the_log_must_be_one_of_the_policys_and_sign_under_its_origin() -> None:
    policy = TrustPolicy.parse(policy_text("none").encode())
    text = CHECKPOINT.encode()
    foreign = Checkpoint("example.org/third", 11, TREE.root()).encode()
    for note in [
        Note(text, (WITNESSES["x1"].cosign(text, 5),)),
        Note(foreign, (sign(foreign, LOG.name, LOG_KEY),)),
    ]:
        with pytest.raises(UnverifiedNote, match="signed by a log of this policy"):
            policy.check(note)
    with pytest.raises(UnverifiedNote, match="does not verify"):
        policy.check(Note(text, (NoteSignature(LOG.name, LOG.id, bytes(64)),)))
    with pytest.raises(MalformedNote):
        policy.check(Note("nothing\n", (sign("nothing\n", LOG.name, LOG_KEY),)))


def test_a_forged_cosignature_spoils_a_note_that_has_a_quorum() -> None:
    forged = NoteSignature("y1.example/w", WITNESSES["y1"].vkey.id, bytes(72))
    policy = TrustPolicy.parse(policy_text("xs").encode())
    with pytest.raises(UnverifiedNote, match="does not verify"):
        policy.check(cosigned("x1", "x2").with_signature(forged))


def test_a_policy_without_logs_takes_the_callers() -> None:
    policy = TrustPolicy.parse(b"quorum none\n")
    assert policy.check(cosigned(), log=LOG).log == LOG
    with pytest.raises(UnverifiedNote):
        policy.check(cosigned())


WITNESS_LINE = f"witness w {WITNESSES['x1'].vkey.encode()}\n"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 0, "expected a quorum line"),
        ("quorum none", 1, "newline"),
        ("quorum none\nquorum none\n", 2, "got a second"),
        ("quorum\n", 1, "got 0 items"),
        ("quorum w\n", 1, "defined before, got 'w'"),
        ("quorum none x\n", 1, "got 2 items"),
        ("quorum none\r\n", 1, "control characters"),
        ("quorum none\n\x7f\n", 2, "control characters"),
        ("weather none\n", 1, "got 'weather'"),
        ("log\n", 1, "log <vkey>"),
        ("log a b c\n", 1, "log <vkey>"),
        ("log a+b+c\n", 1, "base64"),
        (f"log {LOG.encode()}\nlog {LOG.encode()}\n", 2, "its key again"),
        ("witness w\n", 1, "witness <name>"),
        (f"witness w {LOG.encode()}\n", 1, "plain Ed25519"),
        (WITNESS_LINE * 2, 2, "its key again"),
        (WITNESS_LINE + f"witness w {WITNESSES['x2'].vkey.encode()}\n", 2, "a new name"),
        (WITNESS_LINE.replace(" w ", " none "), 1, "a new name"),
        (WITNESS_LINE + "group g 1\n", 2, "group <name>"),
        (WITNESS_LINE + "group g 1 w w\n", 2, "in one group"),
        (WITNESS_LINE + "group g 1 w\ngroup h 1 w\n", 3, "in one group"),
        (WITNESS_LINE + "group g 1 g\n", 2, "defined before"),
        (WITNESS_LINE + "group g 1 none\n", 2, "defined before"),
        (WITNESS_LINE + "group g 0 w\n", 2, "1 to 1"),
        (WITNESS_LINE + "group g 2 w\n", 2, "1 to 1"),
        (WITNESS_LINE + "group g 01 w\n", 2, "1 to 1"),
        (WITNESS_LINE + "group g most w\n", 2, "1 to 1"),
        (WITNESS_LINE + "group w 1 w\n", 2, "a new name"),
    ],
)
def test_errors_name_the_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(MalformedPolicy, match=reason) as caught:
        TrustPolicy.parse(text.encode())
    assert caught.value.line == line
    assert (f"line {line}: " in str(caught.value)) == bool(line)


def test_limits() -> None:
    with pytest.raises(MalformedPolicy, match="1048576 bytes"):
        TrustPolicy.parse(b"#" * (1 << 20) + b"\n")
    keys = [SigningKey.from_seed(number.to_bytes(32, "big")).public for number in range(257)]
    logs = "".join(f"log {Vkey(f'l{number}', ED25519, key).encode()}\n" for number, key in enumerate(keys))
    with pytest.raises(MalformedPolicy, match="256 logs") as caught:
        TrustPolicy.parse(logs.encode())
    assert caught.value.line == 257


def test_names_are_octets() -> None:
    """The letter K and the Kelvin sign are two names, and bytes that are no UTF-8 are a third."""
    keys = [cosigner.vkey.encode() for cosigner in WITNESSES.values()]
    lines = [f"witness K {keys[0]}".encode(), b"witness \xe2\x84\xaa " + keys[1].encode()]
    lines += [b"witness \xff " + keys[2].encode(), b"group \xfe any K \xff", b"quorum \xfe", b""]
    policy = TrustPolicy.parse(b"\n".join(lines))
    assert len(policy.witnesses) == 3
    assert policy.is_met(["K"])
    assert not policy.is_met(["\N{KELVIN SIGN}"])
    assert TrustPolicy.parse(policy.encode()) == policy


def test_a_members_policy_names_outside_witnesses_beside_its_quorum() -> None:
    members = [WITNESSES["x2"].vkey, WITNESSES["x1"].vkey]
    policy = TrustPolicy.parse(encode_policy(LOG, members, 2, witnesses=[STRONG.vkey]))
    assert policy.check(cosigned("x1", "x2")).times.keys() == {"x1.example/w", "x2.example/w"}
    with pytest.raises(UnverifiedNote):
        policy.check(cosigned("x1", "strong"))
    endorsement = policy.check(cosigned("x1", "x2", "strong"))
    assert f"{STRONG.name}#{STRONG.vkey.id.hex()}" in endorsement.times
    assert TrustPolicy.parse(encode_policy(LOG, [], 0)).quorum == "none"


def test_a_proof_is_checked_whole() -> None:
    policy = TrustPolicy.parse(policy_text().encode())
    checkpoint = cosigned("x1", "x3", "y1").encode()
    proof = Proof(4, tuple(TREE.inclusion_proof(4)), checkpoint, extra=b"context")
    assert Proof.parse(proof.encode()) == proof
    assert verify_proof(proof, LEAVES[4], policy).checkpoint == CHECKPOINT
    with pytest.raises(InvalidInclusionProof):
        verify_proof(proof, LEAVES[5], policy)
    with pytest.raises(InvalidInclusionProof):
        verify_proof(Proof(5, proof.path, checkpoint), LEAVES[4], policy)
    with pytest.raises(UnverifiedNote):
        verify_proof(Proof(4, proof.path, cosigned("x1").encode()), LEAVES[4], policy)
    with pytest.raises(MalformedNote):
        verify_proof(Proof(4, proof.path, b"nothing"), LEAVES[4], policy)


@pytest.mark.parametrize(("regulators", "needed"), [(1, 0), (1, 1), (2, 1), (2, 2), (3, 1), (3, 3)])
def test_a_policy_with_regulators_never_accepts_less_than_the_rule(regulators: int, needed: int) -> None:
    keys = {f"m{number}": SigningKey.from_seed(bytes([number] * 32)) for number in range(1, 6)}
    members = [Vkey(name, COSIGNATURE_V1, key.public) for name, key in keys.items()]
    exact = needed in (0, regulators)
    for quorum in range(1, 6):
        written = encode_policy(
            LOG, members, quorum, regulators=members[:regulators], regulators_needed=needed
        )
        policy = TrustPolicy.parse(written)
        for chosen in range(1 << 5):
            names = {f"m{number}" for number in range(1, 6) if chosen >> (number - 1) & 1}
            ruled = len(names) >= quorum and sum(f"m{n}" in names for n in range(1, regulators + 1)) >= needed
            assert ruled or not policy.is_met(names)
            assert policy.is_met(names) == ruled or not exact
