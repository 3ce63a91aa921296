"""The demonstration on a tenth of the data, whole and with the hub's database altered before the audit."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from exchange.demo import Demo, Report
from exchange.demo.audit import alter_entry, names
from exchange.demo.dataset import TABLE
from exchange.demo.errors import DatabaseUnusable
from exchange.local import Consortium

pytestmark = pytest.mark.processes

ROWS = 3_000
PROMISED = {
    "result",
    "expected_plaintext",
    "max_error",
    "matched",
    "refusals",
    "ledger",
    "verification",
    "seconds",
}


def parley(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "exchange.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    out = tmp_path_factory.mktemp("demo") / "out"
    home = tmp_path_factory.mktemp("home")
    report = Demo(out, home, rows=ROWS).run()
    assert not list(home.iterdir())  # the working directory is gone
    return report, out


def test_every_check_holds(demo: tuple[Report, Path]) -> None:
    assert demo[0].failures == []


def test_the_document_has_the_promised_members_and_lies_in_out(demo: tuple[Report, Path]) -> None:
    report, out = demo
    document = json.loads((out / "report.json").read_text())
    assert set(document) >= PROMISED
    assert {path.name for path in out.iterdir()} >= {
        "report.json",
        "evidence.zip",
        "table.csv",
        "plot.png",
        "plot.svg",
    }
    assert document["matched"] == report.matched == ROWS * 8 // 10
    assert Decimal(document["max_error"]) == 0


def test_three_questions_were_answered_and_two_refused_for_their_own_reasons(
    demo: tuple[Report, Path],
) -> None:
    report, _ = demo
    assert [question["group"] for question in report.questions] == ["income_band", "age_band", "education"]
    assert [refusal["clause"] for refusal in report.refusals] == ["purpose", "uses"]
    purpose, uses = report.refusals
    assert (purpose["codes"], uses["codes"]) == (["policy.purpose"], ["policy.count"])
    for refusal in report.refusals:
        assert {decision["by"] for decision in refusal["decisions"]} == {"lender", "bureau"}
        assert all(decision["reasons"] for decision in refusal["decisions"])


def test_rights_of_every_kind_are_exercised(demo: tuple[Report, Path]) -> None:
    told = [finding.key for finding in demo[0].findings if finding.step == 8]
    parts = ["account", "credential", "list", "twin", "noise", "delivered", "consent", "eligible"]
    parts += ["permission", "reviewed", "outside", "revoked"]
    assert told == [f"demo.{part}" for part in parts]


def test_the_evidence_verifies_and_any_altered_byte_does_not(
    demo: tuple[Report, Path], tmp_path: Path
) -> None:
    report, out = demo
    genesis = report.ledger["genesis"]
    assert parley("verify", out / "evidence.zip", "--genesis", genesis).returncode == 0
    data = bytearray((out / "evidence.zip").read_bytes())
    data[len(data) // 3] ^= 0x10
    (tmp_path / "altered.zip").write_bytes(data)
    refused = parley("verify", tmp_path / "altered.zip", "--format", "json")
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["message"]


def test_the_evidence_holds_every_act_from_request_to_refusal(demo: tuple[Report, Path]) -> None:
    held = demo[0].verification["bundle"]["entries"]
    acts = {f"negotiation.{act}" for act in ("request", "offer", "accept", "agree", "verify", "finalize")}
    acts |= {f"job.{act}" for act in ("submit", "approve", "start", "release", "complete", "refuse")}
    acts |= {"asset.publish", "asset.twin", "receipt.step", "agreement.revoke"}
    acts |= {"review.member", "credential.issue", "consent.give", "evidence.eligibility"}
    assert acts <= set(held)
    counted = {"asset.publish": 6, "job.submit": 14, "job.approve": 5, "job.complete": 9, "receipt.step": 36}
    counted |= {f"negotiation.{act}": 11 for act in ("request", "agree", "finalize")}
    counted |= {"job.hold": 1, "job.suspend": 2, "job.resume": 2}
    assert counted.items() <= held.items()


def test_the_evidence_of_another_consortium_is_refused(demo: tuple[Report, Path]) -> None:
    assert parley("verify", demo[1] / "evidence.zip", "--genesis", "0" * 64).returncode == 1


def test_verification_needs_no_server_stack(demo: tuple[Report, Path]) -> None:
    probe = (
        "import sys; from exchange.cli import main; code = main(['verify', sys.argv[1]]); "
        "print([m for m in ('flask', 'grpc', 'cheroot', 'httpx', 'duckdb') if m in sys.modules]); "
        "sys.exit(code)"
    )
    command = [sys.executable, "-P", "-c", probe, str(demo[1] / "evidence.zip")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]")


@pytest.mark.slow
@pytest.mark.parametrize(
    "variable",
    [
        pytest.param("PARLEY_TEST_MARIADB", marks=pytest.mark.mariadb),
        pytest.param("PARLEY_TEST_POSTGRESQL", marks=pytest.mark.postgresql),
    ],
)
def test_the_lenders_table_may_lie_on_a_server(tmp_path: Path, variable: str) -> None:
    url = os.environ.get(variable)
    if not url:
        pytest.skip(f"{variable} names no server")
    report = Demo(None, tmp_path, rows=1_000, database_url=url).run()
    assert report.failures == []
    engine = create_engine(url)
    assert not inspect(engine).has_table(TABLE)
    engine.dispose()


def test_a_database_that_cannot_be_used_is_told_without_its_address(tmp_path: Path) -> None:
    url = "postgresql+psycopg://ann:canary@127.0.0.1:1/none"
    with pytest.raises(DatabaseUnusable) as caught:
        Demo(None, tmp_path, rows=1_000, database_url=url).run()
    assert "canary" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_hub_database_altered_before_the_audit_is_detected_and_named(tmp_path: Path) -> None:
    altered: list[int] = []

    def alter(consortium: Consortium) -> None:
        altered.append(alter_entry(consortium.hub_directory()))

    report = Demo(None, tmp_path, alter, rows=1_000).run()
    assert not report.is_sound
    named = [failure for failure in report.failures if names(failure, altered[0])]
    assert any("regulator's copy" in failure for failure in named)
    assert any("hub's database" in failure for failure in named)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_serve_left_running_ends_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "exchange.cli", "demo", "--rows", "1000", "--serve"]
    log = tmp_path / "stderr"
    with log.open("wb") as errors:
        serving = subprocess.Popen(
            [*command, "--home", str(tmp_path / "home"), "--format", "json"],
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        assert serving.stdout is not None
        document = json.loads(serving.stdout.readline())
        assert document["sound"], document["failures"]
        status = document["places"]["hub"].removeprefix("https://")
        host, _, port = status.rpartition(":")
        socket.create_connection((host, int(port)), timeout=5).close()
        serving.send_signal(signal.SIGTERM)
        serving.wait(timeout=30)
        serving.stdout.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)
    assert not list((tmp_path / "home").iterdir())
