"""docs/protocols.md says of every protocol what its descriptor and its limits say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mpc import PROTOCOLS, ProtocolSpec
from mpc.aggregation import secagg
from mpc.circuit_psi import protocol as circuit_psi
from mpc.engines import networks, rr22, tunnel
from mpc.engines.shares import Sharing
from mpc.over_threshold import protocol as over_threshold
from mpc.over_threshold import tables
from mpc.pir import keyword, manifest, messages
from mpc.psi import masking, own_set, unbalanced
from mpc.psi_many import hints
from mpc.psi_many import protocol as psi_many
from mpc.replicated import LIMIT, links
from mpc.stats import group_sums, joint

PAGE = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text()
MESSAGES = {
    "aggregation/secagg": [
        "keys",
        "all-keys",
        "shares",
        "sealed-shares",
        "masked",
        "survivors",
        "agreement",
        "agreements",
        "openings",
        "confirm",
    ],
    "he/scoring": ["shape", "context", "block", "scores", "confirm"],
    "he/sums": ["key", "encrypted", "confirm", "agreed"],
    "inference/aby3": ["scores", "confirm", "agreed"],
    "inference/cheetah": ["scores", "confirm", "agreed"],
    "pir/keyword": ["blinded", "evaluated", "query", "answer", "confirm"],
    "psi/many": ["size", "seed", "blinded", "evaluated", "hint", "matched", "confirm"],
    "psi/shared": [
        "size",
        "key",
        "tags",
        "mask-seed",
        "order-seed",
        "translation",
        "arrangement",
        "masked",
        "confirm",
    ],
    "psi/cardinality": ["terms", "masked", "double-masked", "sorted", "confirm"],
    "psi/ecdh": ["terms", "masked", "double-masked", "multiplicities", "confirm"],
    "psi/unbalanced": ["ask", "offer", "tags", "next", "blinded", "evaluated", "confirm"],
    "psi/over-threshold": ["terms", "key", "cells", "hits", "tags", "outcome", "confirm"],
    "psi/rr22": ["hello", "frame", "confirm"],
    "replicated/three-party": [
        "keys",
        "public",
        "input",
        "planes",
        "product",
        "shuffle",
        "open",
        "confirm",
        "agreed",
    ],
    "shares/aby3": ["state", "hello", "share", "frame", "confirm", "agreed"],
    "shares/cheetah": ["state", "hello", "share", "frame", "confirm", "agreed"],
    "stats/group-sums": [
        "shape",
        "cohorts",
        "base-offer",
        "base-choices",
        "columns",
        "corrections",
        "confirm",
    ],
    "stats/joint": ["query", "mask-key", "keys", "masked", "planes", "product", "open", "confirm", "agreed"],
}


def section(name: str) -> str:
    found = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/protocols.md has no section {name}"
    return found.group(1)


def rows(text: str) -> set[tuple[str, ...]]:
    lines = (line.strip("| ") for line in text.splitlines() if line.startswith("|"))
    return {tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)) for line in lines}


@pytest.mark.parametrize("spec", PROTOCOLS, ids=lambda spec: spec.name)
def test_a_section_names_version_adversary_and_every_leak(spec: ProtocolSpec) -> None:
    text = section(spec.name)
    assert text.lstrip().startswith(f"Version {spec.version}.")
    assert ("adversary, corruptions", f"{spec.adversary}, {spec.corruptions}") in rows(text)
    leaks = {(role, leak) for role, facts in spec.leaks.items() for leak in facts}
    documented = {row for row in rows(text) if row[0] in spec.roles}
    assert documented == leaks


@pytest.mark.parametrize("spec", PROTOCOLS, ids=lambda spec: spec.name)
def test_the_figure_has_every_message(spec: ProtocolSpec) -> None:
    figure = section(spec.name).split("```mermaid")[1].split("```")[0]
    shown = set(re.findall(r">>\w: ([a-z-]+)(?::|$)", figure, re.MULTILINE))
    assert shown == set(MESSAGES[spec.name])


def test_the_overview_lists_exactly_these_protocols() -> None:
    overview = PAGE.split("## Common to all")[0]
    assert set(re.findall(r"\[`([a-z0-9/-]+)`\]", overview)) == {spec.name for spec in PROTOCOLS}
    assert {spec.name for spec in PROTOCOLS} == set(MESSAGES)


def test_the_limits_of_n_parties_are_those_of_the_code() -> None:
    many = section("psi/many")
    assert f"| parties n | {psi_many.MIN_PARTIES} to {psi_many.MAX_PARTIES} |" in many
    assert f"| items | at most {psi_many.MAX_ROWS:,}; distinct |" in many
    assert f"| `BIN_ITEMS` | {hints.BIN_ITEMS} |" in many
    assert f"chunks of {psi_many.CHUNK_ROWS:,} items" in many
    shared = section("psi/shared")
    assert f"| rows | at most {circuit_psi.MAX_ROWS:,} |" in shared
    assert f"| columns | at most {circuit_psi.MAX_COLUMNS} |" in shared
    text = section("psi/over-threshold")
    assert f"| parties n | {over_threshold.MIN_PARTIES} to {over_threshold.MAX_PARTIES} |" in text
    assert f"| `capacity` | 1 to {over_threshold.MAX_CAPACITY:,} |" in text
    assert f"| `TABLES` | {tables.TABLES} |" in text
    assert f"chunks of {over_threshold.CHUNK_CELLS:,} cells" in text


def test_the_limits_of_programs_on_shares_are_those_of_the_code() -> None:
    for kind in Sharing:
        line = f"| products or comparisons of one operation | at most {kind.most_products:,} |"
        assert line in section(kind.spec.name)


def test_the_limits_of_networks_are_those_of_the_code() -> None:
    text = section("inference/aby3")
    assert f"| layers | 1 to {networks.MAX_LAYERS}, of 1 to {networks.MAX_UNITS} units |" in text
    assert f"| numbers | at most {networks.MAX_NUMBERS:,} |" in text
    assert f"integers in units of 2^-{networks.FRACTION}," in text
    layer = (networks.Layer(1, 1, is_rectified=False),)
    for kind in Sharing:
        rows = networks.Task(kind, layer, 1, 1.0).batch_rows
        assert f"batches of at most {rows:,} rows" in section(f"inference/{kind}")


def test_the_limits_of_the_fast_intersection_are_those_of_the_code() -> None:
    text = section("psi/rr22")
    assert f"| items | at most {rr22.MAX_ROWS:,}; 1 to {rr22.MAX_ITEM_BYTES:,} bytes each; distinct |" in text
    assert f"| `FRAME_BYTES` | {tunnel.FRAME_BYTES:,} |" in text


def test_the_limits_are_those_of_the_code() -> None:
    psi, sums = section("psi/ecdh"), section("stats/group-sums")
    assert f"| items | at most {own_set.MAX_ROWS:,}; 1 to {own_set.MAX_ITEM_BYTES:,} bytes each |" in psi
    assert f"| `CHUNK_ROWS` | {masking.CHUNK_ROWS:,} |" in psi
    assert f"| `TAG_BYTES` | {masking.TAG_BYTES} |" in psi
    kept = section("psi/unbalanced")
    assert f"chunks of {unbalanced.CHUNK_TAGS:,} tags" in kept
    assert f"| `TAG_BYTES` | {unbalanced.TAG_BYTES} |" in kept
    assert f"| client's items | at most {unbalanced.MAX_BATCH:,}" in kept
    assert f"| rows n | 1 to {group_sums.MAX_ROWS:,}, equal at both |" in sums
    assert f"| groups k | 1 to {group_sums.MAX_GROUPS:,} |" in sums
    assert f"| measures m | 1 to {group_sums.MAX_MEASURES} |" in sums
    assert f"| `CHUNK_TRANSFERS` | {group_sums.CHUNK_TRANSFERS:,} |" in sums
    pooled = section("stats/joint")
    assert f"| owners n | 2 to {joint.MAX_OWNERS} |" in pooled
    assert f"| cells k | 1 to {joint.MAX_CELLS:,} |" in pooled
    assert f"| figures f | at most {joint.MAX_FIGURES:,} |" in pooled
    aggregation = section("aggregation/secagg")
    assert f"| owners n | {secagg.MIN_OWNERS} to {secagg.MAX_OWNERS} |" in aggregation
    assert f"| words L | 1 to {secagg.MAX_WORDS:,} |" in aggregation
    replicated = section("replicated/three-party")
    assert LIMIT == 2**62
    assert "| `LIMIT` | 2^62 |" in replicated
    assert f"| `PIECE_BYTES` | {links.PIECE_BYTES:,} |" in replicated


def test_the_limits_of_queries_are_those_of_the_code() -> None:
    text = section("pir/keyword")
    assert f"| entries | at most {manifest.MAX_ENTRIES:,} |" in text
    assert f"| record size | 1 to {manifest.MAX_RECORD_BYTES:,} bytes |" in text
    assert f"| keys | 1 to {messages.MAX_KEYS:,} a run;" in text
    assert f"| columns | {manifest.MIN_COLUMNS} to {manifest.MAX_COLUMNS:,}, a power of two |" in text
    assert f"| `BLOCK_KEYS` | {keyword.BLOCK_KEYS} |" in text
    assert f"| {manifest.TAG_BYTES}, {manifest.CHECKSUM_BYTES} | of a sealed record; of a bin |" in text
