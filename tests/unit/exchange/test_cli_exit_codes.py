import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exchange import errors
from exchange.cli import main
from exchange.cli.output import failure, success
from exchange.sdk import NodeProblem, Profile


def profile(home: Path, url: str = "https://127.0.0.1:9") -> None:
    from datetime import UTC, datetime

    from exchange.tls import self_signed

    _, certificate = self_signed("lender.parley.internal", now=datetime.now(UTC))
    Profile("lender", url, certificate, {"steward": "t", "analyst": "t"}).save(home)


def envelope(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    loaded: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return loaded


def test_the_envelopes_have_the_stated_members() -> None:
    assert success([1]) == {"schema_version": "1", "status": "ok", "data": [1]}
    assert set(failure("a", "b", "c")) == {"schema_version", "status", "error_code", "message", "hint"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["asset", "list"],
        ["nonsense"],
        ["asset", "publish", "--org", "lender"],
        ["verify", "/no/such/bundle"],
        ["doctor", "--format", "yaml"],
    ],
)
def test_wrong_arguments_end_with_4(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 4
    assert "[arguments]" in capsys.readouterr().err


def test_a_usage_error_obeys_the_format_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["asset", "list", "--format", "json"]) == 4
    assert envelope(capsys)["error_code"] == "arguments"


def test_an_unknown_profile_ends_with_4_and_names_those_that_exist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile(tmp_path)
    assert main(["asset", "list", "--org", "nobody", "--home", str(tmp_path)]) == 4
    assert "found: lender" in capsys.readouterr().err


def test_an_unreachable_node_ends_with_2_and_names_the_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile(tmp_path)
    code = main(["asset", "list", "--org", "lender", "--home", str(tmp_path), "--format", "json"])
    answer = envelope(capsys)
    assert (code, answer["error_code"]) == (2, "node.unreachable")
    assert "https://127.0.0.1:9" in str(answer["message"])


def test_a_missing_token_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile(tmp_path)
    assert main(["audit", "compare", "--org", "lender", "--home", str(tmp_path)]) == 2
    assert "auditor" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "expected"), [(401, 2), (403, 2), (404, 4), (409, 1), (422, 4), (500, 1), (503, 2), (504, 3)]
)
def test_a_problem_becomes_the_exit_code_of_its_status(status: int, expected: int) -> None:
    problem = NodeProblem.of(
        status, {"code": "some.code", "detail": "why", "status": status, "reasons": ["r"]}
    )
    assert problem.face.exit_code == expected
    assert (problem.code, problem.detail, problem.extras) == ("some.code", "why", {"reasons": ["r"]})


def test_an_answer_that_is_no_problem_document_is_said_to_be_none() -> None:
    assert NodeProblem.of(502, "<html>").code == "node.unexpected-answer"


def test_problems_and_local_errors_agree_on_exit_codes() -> None:
    cases = [
        errors.InvalidRequest("a", "b", "c"),
        errors.Unauthenticated(),
        errors.Forbidden(),
        errors.NotFound(),
        errors.Conflict(),
        errors.TimedOut(),
        errors.HubUnreachable(),
        errors.NodeUnreachable(),
        errors.LedgerRefused("job.start", "x"),
        errors.JobRefused(("r",), ("c",)),
        errors.JobFailed(),
    ]
    for error in cases:
        face = errors.public_face(error)
        problem = NodeProblem.of(face.status, {"code": face.code, "detail": face.detail})
        assert problem.face.exit_code == face.exit_code, face.code


def test_jsonl_marks_its_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--format", "jsonl"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("terminal", False) for line in lines] == [False] * (len(lines) - 1) + [True]


def test_doctor_lists_absent_extras_with_the_line_that_installs_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["data"]
    assert {"tenseal", "phe", "crypten", "syft", "spu", "psycopg"} <= {row["name"] for row in rows}
    for row in rows:
        assert row["state"] in ("present", "absent")
        assert bool(row["install"]) == (row["state"] == "absent")


def test_chinese_is_spoken_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["asset", "--help", "--lang", "zh"]) == 0
    assert "发布" in capsys.readouterr().out


def test_help_imports_nothing_heavy_and_is_fast() -> None:
    probe = (
        "import sys; from exchange.cli import main; main(['--help']); "
        "print([m for m in ('rich', 'httpx', 'numpy', 'duckdb', 'sqlalchemy', 'grpc', 'ledger') "
        "if m in sys.modules])"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-P", "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert time.monotonic() - started < 3.0  # 0.12 s on a quiet machine; the imports above are the real guard
