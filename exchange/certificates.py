"""A certificate of a notarized document to print: one HTML page in Chinese and English, with a QR code.

The page has no script and loads nothing. It tells what was checked and proves nothing by itself: the proof
file and the evidence bundle do, and the page says so. Browsers print it to paper or PDF; a PDF made here
would need Chinese fonts of its own.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from ledger.bundle import Report
from ledger.notarization import Proof
from ledger.offline import OnRecord
from ledger.verdicts import Verdict

__all__ = ["Certificate", "certify", "short_link"]


@dataclass(frozen=True)
class Certificate:
    """What a certificate states; all of it has been checked.

    Attributes:
        document: the file's name; None if only its fingerprint is known.
        size_bytes: its size; None as before.
        proof: the proof that was checked.
        found: what the ledger says.
        report: the evidence bundle that shows it.
        verdict: a signed comparison with a copy, if there is one.
        verifier: name of the member that signed it.
        recorded: index of the entry that puts the verdict on record, if any.
        made: when the page was made.
    """

    document: str | None
    size_bytes: int | None
    proof: Proof
    found: OnRecord
    report: Report
    verdict: Verdict | None
    verifier: str | None
    recorded: int | None
    made: str


def short_link(proof: Proof) -> str:
    """Return what the QR code says: which ledger, which entry, which document; 270 characters, no address."""
    return "parley:notarization?" + urlencode(
        {
            "genesis": proof.place.genesis,
            "txid": proof.place.txid,
            "index": proof.place.index,
            "document": f"{proof.position + 1}/{proof.count}",
            "sha256": proof.digest.hex(),
        },
        safe="/",
    )


def certify(certificate: Certificate) -> str:
    """Render a certificate as an HTML page for A4 paper."""
    import segno

    code = segno.make(short_link(certificate.proof), error="m", micro=False)
    return _template().render(certificate=certificate, qr=code.svg_inline(omitsize=True, border=2))


@functools.cache
def _template() -> Template:
    engine = Environment(
        loader=PackageLoader("exchange.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return engine.get_template("certificate.html")
