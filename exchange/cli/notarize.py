"""``parley notarize``: put fingerprints of files on the ledger, verify copies, print certificates.

``parley notarize FILE...`` is short for ``parley notarize files FILE...``; a file that has the name of a
command is written ``./verify``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from exchange.cli.access import client, home_option, person
from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields, rows
from exchange.errors import InvalidRequest

if TYPE_CHECKING:
    from ledger.notarization import Proof
    from ledger.offline import Shown
    from ledger.verdicts import Comparison, Verdict

__all__ = ["certificate", "check", "evidence", "files", "forget", "notarize", "verify"]

_HERE = "exchange.cli.notarize"
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_NEW_FILE = click.Path(path_type=Path, dir_okay=False)
_DIRECTORY = click.Path(path_type=Path, file_okay=False, exists=True)
_DEFAULT = "files"


class _Notarize(LazyGroup):
    """A group whose first word may be left out."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Take anything that names no command for the arguments of ``files``."""
        if args and args[0] not in {*self.members, *context.help_option_names}:
            args = [_DEFAULT, *args]
        return super().parse_args(context, args)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import one member; any other word is a file's name."""
        return super().get_command(context, name if name in self.members else _DEFAULT)


notarize = _Notarize(
    "notarize",
    {
        "files": f"{_HERE}:files",
        "verify": f"{_HERE}:verify",
        "check": f"{_HERE}:check",
        "certificate": f"{_HERE}:certificate",
        "evidence": f"{_HERE}:evidence",
        "forget": f"{_HERE}:forget",
    },
    "notarize",
)


@command("notarize.files")
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=_FILE)
@option("--out", key="out_proofs", type=_DIRECTORY, default=Path(), show_default=True)
@option("--kind", key="notarize_kind")
@option("--note", key="notarize_note")
@option("--private-note", key="notarize_private")
@person
@click.pass_context
def files(
    context: click.Context,
    paths: tuple[Path, ...],
    out: Path,
    kind: str | None,
    note: str | None,
    private_note: str | None,
    org: str,
    home: Path | None,
) -> None:
    """Notarize files; only their fingerprints leave this machine."""
    from exchange.sdk.notarization import notarize_files

    output = invocation(context).output
    with output.progress("progress.notarize") as bar, client(context, org, home) as node:
        made = notarize_files(
            node,
            paths,
            out,
            kind=kind,
            note=note,
            private=private_note,
            on_progress=lambda done: bar.at(done, len(paths), f"{done}/{len(paths)}"),
        )
    found = [
        {
            "file": str(one.file),
            "digest": one.digest,
            "time": one.time,
            "index": one.index,
            "position": one.position,
            "notarization": one.notarization,
            "txid": one.txid,
            "proof": str(one.proof),
            "evidence": str(one.evidence),
        }
        for one in made
    ]
    output.result(found, rows(found, ["file", "time", "index", "position", "proof", "evidence"]))


@command("notarize.verify")
@option("--proof", "proof_path", key="proof", type=_FILE, required=True)
@option("--copy", "copy_path", key="copy", type=_FILE, required=True)
@option("--original", "original_path", key="original", type=_FILE)
@option("--evidence", "evidence_path", key="evidence", type=_FILE)
@option("--genesis", key="genesis_hash")
@option("--org", key="verify_org")
@option("--challenge", key="challenge")
@option("--record", key="record", is_flag=True)
@option("--out", key="out_verdict", type=_DIRECTORY, default=Path(), show_default=True)
@home_option
@click.pass_context
def verify(
    context: click.Context,
    proof_path: Path,
    copy_path: Path,
    original_path: Path | None,
    evidence_path: Path | None,
    genesis: str | None,
    org: str | None,
    challenge: str | None,
    record: bool,
    out: Path,
    home: Path | None,
) -> int:
    """Compare ledger, original and copy: offline, or at a node that signs the verdict."""
    from ledger.errors import InvalidNotarization
    from ledger.notarization import Proof, fingerprint_file
    from ledger.offline import Shown, check_proof
    from ledger.verdicts import compare

    if org is None and (challenge is not None or record):
        raise click.UsageError("expected --org with --challenge and --record: a node signs and records")
    proof = Proof.parse(proof_path.read_bytes())
    copy = fingerprint_file(copy_path)
    original = None if original_path is None else fingerprint_file(original_path)
    output = invocation(context).output
    if org is not None:
        return _verify_at_node(
            context, proof, copy, original, org=org, home=home, genesis=genesis, challenge=challenge,
            record=record, out=out,
        )  # fmt: skip
    shown = Shown.open(_evidence_for(proof, proof_path, evidence_path).read_bytes(), genesis)
    if shown.is_silent_on(proof):
        raise InvalidRequest("--evidence", f"a bundle that shows entry {proof.place.index}", "one without it")
    facts: dict[str, object] = {}
    try:
        found = check_proof(proof, shown)
        facts = {"notarized_by": found.name, "title": found.title, "time": found.time, "note": found.note}
        comparison = compare(proof.digest, original, copy)
    except InvalidNotarization as error:
        facts = {"reason": str(error)}
        comparison = compare(None, original, copy)
    if genesis is None:
        output.note("verify.unpinned")
    return _show(context, comparison, facts)


def _verify_at_node(
    context: click.Context,
    proof: Proof,
    copy: bytes,
    original: bytes | None,
    *,
    org: str,
    home: Path | None,
    genesis: str | None,
    challenge: str | None,
    record: bool,
    out: Path,
) -> int:
    """Have a node sign a verdict, check it here as anybody would, and write it with its evidence."""
    from exchange.sdk.notarization import VERDICT_SUFFIX
    from ledger import canonical
    from ledger.offline import Shown, check_verdict
    from ledger.verdicts import Verdict

    with client(context, org, home) as node:
        answer = node.verify_copy(
            proof.as_json(),
            copy.hex(),
            original=None if original is None else original.hex(),
            challenge=challenge,
            record=record,
        )
        verdict = Verdict.parse(canonical.encode(answer["verdict"]))
        index = proof.place.index if proof.place.index < verdict.size else 0
        bundle = node.notarization_evidence(proof.notarization, index=index)
    check_verdict(verdict, Shown.open(bundle, genesis), copy=copy, challenge=challenge)
    (out / f"{verdict.verdict}.zip").write_bytes(bundle)
    path = out / (verdict.verdict + VERDICT_SUFFIX)
    path.write_bytes(verdict.encode())
    facts = {"verifier": org, "operator": verdict.operator, "time": verdict.time, "reason": verdict.reason}
    facts |= {"index": answer["index"], "verdict": str(path)}
    return _show(
        context, verdict.comparison, {name: value for name, value in facts.items() if value is not None}
    )


@command("notarize.check")
@click.argument("path", metavar="VERDICT", type=_FILE)
@option("--copy", "copy_path", key="copy_checked", type=_FILE)
@option("--challenge", key="challenge_checked")
@option("--evidence", "evidence_path", key="evidence_verdict", type=_FILE)
@option("--genesis", key="genesis_hash")
@click.pass_context
def check(
    context: click.Context,
    path: Path,
    copy_path: Path | None,
    challenge: str | None,
    evidence_path: Path | None,
    genesis: str | None,
) -> int:
    """Check a signed verdict offline."""
    from ledger.notarization import fingerprint_file
    from ledger.offline import check_verdict

    verdict, shown = _verdict_and_evidence(path, evidence_path, genesis)
    copy = None if copy_path is None else fingerprint_file(copy_path)
    recorded = check_verdict(verdict, shown, copy=copy, challenge=challenge)
    facts: dict[str, object] = {
        "verifier": _member(shown, verdict),
        "operator": verdict.operator,
        "time": verdict.time,
        "copy": verdict.copy.hex(),
        "challenge": verdict.challenge,
        "reason": verdict.reason,
        "index": recorded,
    }
    if genesis is None:
        invocation(context).output.note("verify.unpinned")
    return _show(
        context, verdict.comparison, {name: value for name, value in facts.items() if value is not None}
    )


@command("notarize.certificate")
@option("--proof", "proof_path", key="proof", type=_FILE, required=True)
@option("--document", key="document", type=_FILE)
@option("--verdict", "verdict_path", key="verdict", type=_FILE)
@option("--evidence", "evidence_path", key="evidence", type=_FILE)
@option("--genesis", key="genesis_hash")
@option("--out", key="out_certificate", type=_NEW_FILE, required=True)
@click.pass_context
def certificate(
    context: click.Context,
    proof_path: Path,
    document: Path | None,
    verdict_path: Path | None,
    evidence_path: Path | None,
    genesis: str | None,
    out: Path,
) -> None:
    """Write a certificate to print, of what has just been checked."""
    from exchange.certificates import Certificate, certify
    from ledger.notarization import Proof, fingerprint_file
    from ledger.offline import Shown, check_proof, check_verdict
    from ledger.times import format_time, system_clock

    proof = Proof.parse(proof_path.read_bytes())
    if document is not None and fingerprint_file(document) != proof.digest:
        raise InvalidRequest("--document", "the file that was notarized", "a file with another fingerprint")
    verdict = recorded = None
    if verdict_path is None:
        shown = Shown.open(_evidence_for(proof, proof_path, evidence_path).read_bytes(), genesis)
    else:
        verdict, shown = _verdict_and_evidence(verdict_path, evidence_path, genesis)
        if verdict.proof != proof:
            raise InvalidRequest("--verdict", "a verdict on this proof", "one on another")
        recorded = check_verdict(verdict, shown)
    page = certify(
        Certificate(
            document=None if document is None else document.name,
            size_bytes=None if document is None else document.stat().st_size,
            proof=proof,
            found=check_proof(proof, shown),
            report=shown.report,
            verdict=verdict,
            verifier=None if verdict is None else _member(shown, verdict),
            recorded=recorded,
            made=format_time(system_clock()),
        )
    )
    out.write_text(page, encoding="utf-8")
    if genesis is None:
        invocation(context).output.note("verify.unpinned")
    invocation(context).output.result({"certificate": str(out)}, str(out))


@command("notarize.evidence")
@click.argument("notarization", metavar="NOTARIZATION")
@option("--out", key="out_bundle", type=_NEW_FILE, required=True)
@person
@click.pass_context
def evidence(context: click.Context, notarization: str, out: Path, org: str, home: Path | None) -> None:
    """Fetch the newest evidence bundle of a notarization."""
    with client(context, org, home) as node:
        bundle = node.notarization_evidence(notarization)
    out.write_bytes(bundle)
    invocation(context).output.result({"bundle": str(out), "bytes": len(bundle)}, str(out))


@command("notarize.forget")
@click.argument("notarization", metavar="NOTARIZATION")
@person
@click.pass_context
def forget(context: click.Context, notarization: str, org: str, home: Path | None) -> None:
    """Drop the node's fingerprints and salts of a notarization."""
    with client(context, org, home) as node:
        node.forget_notarization(notarization)
    invocation(context).output.result({"notarization": notarization}, notarization)


def _show(context: click.Context, comparison: Comparison, facts: dict[str, object]) -> int:
    """Print a comparison; the exit code is 0 for a copy that is what was notarized, else 1."""
    from ledger.rules.evidence import Outcome
    from ledger.verdicts import Finding

    called = invocation(context)
    called.output.note(f"notarize.outcome.{comparison.outcome}")
    if Finding.NOT_COMPARED in (comparison.ledger_original, comparison.original_copy):
        called.output.note("notarize.two-way")
    found = {"outcome": str(comparison.outcome), "findings": comparison.findings(), **facts}
    shown = {"outcome": str(comparison.outcome), **comparison.findings(), **facts}
    called.output.result(found, fields(shown))
    return 0 if comparison.outcome == Outcome.AUTHENTIC else 1


def _evidence_for(proof: Proof, proof_path: Path, given: Path | None) -> Path:
    """Find the bundle: as given, else the one that ``parley notarize`` wrote beside the proof."""
    path = given or proof_path.parent / f"{proof.notarization}.zip"
    if not path.is_file():
        raise InvalidRequest("--evidence", f"the bundle that shows the entry, {path.name}", "no such file")
    return path


def _verdict_and_evidence(path: Path, given: Path | None, genesis: str | None) -> tuple[Verdict, Shown]:
    from ledger.offline import Shown
    from ledger.verdicts import Verdict

    verdict = Verdict.parse(path.read_bytes())
    bundle = given or path.with_suffix(".zip")
    if not bundle.is_file():
        raise InvalidRequest("--evidence", f"the bundle of the verdict, {bundle.name}", "no such file")
    return verdict, Shown.open(bundle.read_bytes(), genesis)


def _member(shown: Shown, verdict: Verdict) -> str:
    return str(shown.state.rows("members")[verdict.did]["name"])
