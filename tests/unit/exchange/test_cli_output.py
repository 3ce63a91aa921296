"""How results are printed for programs: enveloped, or beside the envelope for a document of its own."""

from __future__ import annotations

import io
import json

import pytest

from exchange.cli.output import Output


def printed(format_: str, *, is_sound: bool = True) -> dict[str, object]:
    out = io.StringIO()
    Output(format_, "en", out, io.StringIO()).document({"result": 7}, "seven", is_sound=is_sound)
    loaded: dict[str, object] = json.loads(out.getvalue())
    return loaded


def test_a_document_keeps_its_keys_beside_the_envelope() -> None:
    assert printed("json") == {"schema_version": "1", "status": "ok", "result": 7}
    assert printed("jsonl") == {"schema_version": "1", "status": "ok", "result": 7, "terminal": True}


def test_an_unsound_document_says_so() -> None:
    assert printed("json", is_sound=False)["status"] == "error"


@pytest.mark.parametrize("sound", [True, False])
def test_people_get_the_view(sound: bool) -> None:
    out = io.StringIO()
    Output("text", "en", out, io.StringIO()).document({"result": 7}, "seven", is_sound=sound)
    assert out.getvalue() == "seven\n"


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    from exchange.cli.output import fields, plain, rows

    assert (
        plain("\x1b[2Jhello\x07\u202ekey\x9b1m 数据\tx\n")
        == "\ufffd[2Jhello\ufffd\ufffdkey\ufffd1m 数据\tx\n"
    )
    out = io.StringIO()
    output = Output("text", "en", out, io.StringIO())
    output.result([], rows([{"title": "a\x1b[31mb"}], ["title"], title="t\x1b]0;x\x07"))
    output.result({}, fields({"name": ["c\x1b[31md"], "more": {"k": "\u202e"}}))
    assert "\x1b" not in out.getvalue()
    assert "\u202e" not in out.getvalue()
