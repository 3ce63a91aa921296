"""Server-rendered pages: no script, nothing loaded from elsewhere, in English or Chinese.

The language is ``?lang=en`` or ``?lang=zh``, else what the browser prefers, else English. Every value is
escaped by the template engine; the content security policy admits our own style sheet alone, by its digest.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from flask import Response, request
from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["Language", "Section", "language", "render", "render_status"]

Language = Literal["en", "zh"]


@dataclass(frozen=True)
class Section:
    """One table of the status page.

    Attributes:
        heading: its title.
        rows: the cells; without ``columns`` the first cell of each row names it.
        columns: titles of the columns.
        note: a sentence below the title.
    """

    heading: str
    rows: Sequence[Sequence[str]]
    columns: Sequence[str] = ()
    note: str = ""


def language() -> Language:
    """Return the language of the present request."""
    asked = request.args.get("lang") or request.accept_languages.best_match(["en", "zh"])
    return "zh" if asked == "zh" else "en"


def render_status(title: str, sections: Sequence[Section], lang: Language) -> Response:
    """Render the status page of a hub or node.

    Args:
        title: who this is, e.g. "Node lender".
        sections: what to show, already in ``lang``.
        lang: language of the page's own words.
    """
    return render("status.html", lang=lang, title=title, sections=sections)


def render(template: str, *, lang: Language | None = None, **values: object) -> Response:
    """Render one of this package's templates in the request's language, or in ``lang``."""
    engine, style = _engine(), _style()
    page = engine.get_template(template).render(lang=lang or language(), style=style, **values)
    response = Response(page, content_type="text/html; charset=utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    return response


@functools.cache
def _engine() -> Environment:
    return Environment(
        loader=PackageLoader("exchange.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


@functools.cache
def _style() -> str:
    source, _, _ = cast(PackageLoader, _engine().loader).get_source(_engine(), "style.css")
    return source
