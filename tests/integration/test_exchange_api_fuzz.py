"""Requests made from the OpenAPI documents, valid and broken, against a node and a hub that run.

Each run holds every answer to the document: status, media type, schema; no error of the server; what the
document excludes is refused; nobody without a token gets in. A short run of the hub's two interfaces is part
of the suite, one of a node's of the slow tests, and a long one is ``make test-api``. Requests that fit the
document and are refused for what they mean are fine, so the check that every valid request succeeds is off.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("exchange-api-fuzz")

EXAMPLES = os.environ.get("PARLEY_API_EXAMPLES")
"""Set by ``make test-api``: so many requests for each operation, and every boundary of every field."""

UNCHECKED = "positive_data_acceptance,allow_header_conformance,missing_required_header"
# A token that is withdrawn by one of these would end the run; they have tests of their own.
LEFT_OUT = r"^/v1/(tokens|sessions|password|totp|people/)"
SETTINGS = """
[warnings]
enabled = false
[[operations]]
include-path = "/v1/notices"
parameters = { "wait_s" = 0 }
"""


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]) -> Iterator[Any]:
    """A consortium with assets and agreements, so that some requests reach something."""
    asked = make_question(tmp_path_factory.mktemp("exchange"))
    with asked.running:
        asked.publish()
        asked.agree(uses=1)
        yield asked


def fuzz(address: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    settings = folder / "schemathesis.toml"
    settings.write_text(SETTINGS)
    phases = ("coverage,fuzzing", EXAMPLES) if EXAMPLES else ("fuzzing", "1")
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "--config-file",
            str(settings),
            "run",
            address,
            "--tls-verify",
            "false",
            "--phases",
            phases[0],
            "--max-examples",
            phases[1],
            "--generation-deterministic",
            "--request-timeout",
            "60",
            "--exclude-checks",
            UNCHECKED,
            *options,
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )


@pytest.mark.slow
def test_a_nodes_interface_keeps_to_its_document(question: Any, tmp_path: Path) -> None:
    running = question.running
    roles = ["steward", "approver", "analyst", "auditor"]
    made = running.client("lender").add_person("fuzzer", roles, token_days=1)
    profile = running.profiles["lender"]
    ran = fuzz(
        f"{profile.url}/openapi.json",
        tmp_path,
        "--header",
        f"Authorization: Bearer {made['token']}",
        "--exclude-path-regex",
        LEFT_OUT,
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]


def test_the_members_interface_of_a_hub_keeps_to_its_document(question: Any, tmp_path: Path) -> None:
    hub, node = question.running.hub, question.running.nodes["lender"]
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"
    certificate.write_text(ssl.DER_cert_to_PEM_cert(node.services.keys.tls_cert))
    key.touch(mode=0o600)
    key.write_bytes(node.services.keys.tls_key)
    described = f"https://127.0.0.1:{hub.operator_port}/members/openapi.json"
    shown = ("--request-cert", str(certificate), "--request-cert-key", str(key))
    ran = fuzz(described, tmp_path, "--url", f"https://127.0.0.1:{hub.member_port}", *shown)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]


def test_the_operators_interface_of_a_hub_keeps_to_its_document(question: Any, tmp_path: Path) -> None:
    ran = fuzz(f"https://127.0.0.1:{question.running.hub.operator_port}/openapi.json", tmp_path)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
