"""The verifier as one page for a browser: it checks an evidence bundle offline, without our Python code.

``page`` puts style and scripts into one HTML file that loads nothing and connects to nowhere; its own content
security policy admits exactly that style and that script, by their digests. Signatures and hashes are the
browser's (WebCrypto); the rest is plain JavaScript, one file per subject, in the order of ``SCRIPTS``.

With a proof file and a copy of the document it compares ledger, original and copy too.

What it leaves to ``ledger.bundle``: time stamps, the replay of a whole log, anchors in other ledgers, SM2
signatures, and the shapes of governance bodies (see ``governance.js``).
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

__all__ = ["SCRIPTS", "page", "policy"]

SCRIPTS = (
    "bytes.js",
    "canonical.js",
    "container.js",
    "merkle.js",
    "notes.js",
    "governance.js",
    "bundle.js",
    "notarization.js",
    "view.js",
)


@cache
def page() -> bytes:
    """Return the page, UTF-8."""
    html = _text("page.html").replace("{policy}", policy())
    return html.replace("{style}", _style()).replace("{script}", _script()).encode()


@cache
def policy() -> str:
    """Return the content security policy that the page carries."""
    script, style = _digest(_script()), _digest(_style())
    return f"default-src 'none'; script-src {script}; style-src {style}; base-uri 'none'; form-action 'none'"


def _script() -> str:
    return '"use strict";\n' + "\n".join(_text(name) for name in SCRIPTS)


def _style() -> str:
    return _text("style.css")


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
