"""Steps of two-party intersection: composite keys, joins, receivers, repeated identifiers, counts alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from connectors.errors import DuplicateIdentifiers, EmptyIdentifiers
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import Outcome, StepContext
from exchange.jobs.intersection import rows_of, rows_or_missing
from exchange.jobs.kept import Kept
from exchange.jobs.registry import built_in
from exchange.jobs.releases import Cardinality
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import example_spec, nothing_lent
from mpc.channel import Channel
from mpc.errors import PeerAborted, ResultSizeRefused
from mpc.psi import unbalanced
from mpc.randomness import SystemRandomness
from mpc.testing import channel_pair, outcomes

LEFT = pa.table({"name": ["Ann", "bob", "Cy", "Dee"], "born": ["1990", "1985", "2001", "1970"]})
RIGHT = pa.table({"who": ["BOB", "ANN", "ANN", "EVE"], "year": ["1985", "1991", "1990", "2000"]})
RULES = [["upper"], ["trim"]]


def step_of(
    component: str,
    left: Sequence[str] = ("name", "born"),
    right: Sequence[str] = ("who", "year"),
    **params: Any,
) -> Step:
    spec = example_spec()
    step = spec["steps"][0]
    step["component"] = component
    for role, names in (("left", left), ("right", right)):
        step["inputs"][role]["columns"] = [{"name": name, "decimals": 0} for name in names]
    step["recipients"] = [did for role, did in step["parties"].items() if role == params.get("receivers")]
    step["params"] = {"normalise": {"left": RULES, "right": RULES}, "minimum_matches": 1} | params
    spec["steps"] = [step]
    parsed = JobSpec.from_json(spec)
    built_in().check(parsed)
    return parsed.steps[0]


@dataclass
class Owner:
    table: pa.Table
    minimum: int = 1
    kept: Kept = nothing_lent().kept

    def play(self, step: Step, role: str, channel: Channel) -> Outcome:
        def rows(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
            yield from self.table.select(list(names)).to_batches(max_chunksize=3)

        context = StepContext(
            step=step,
            role=role,
            ranks=tuple(step.parties),
            session=channel.session,
            minimum_cohort=self.minimum,
            read=lambda name: rows([name]),
            channel=lambda _: channel,
            before={},
            earlier={},
            released={},
            rng=SystemRandomness(),
            progress=lambda done, total: None,
            hand_over=replace(nothing_lent(), rows=rows, kept=self.kept),
        )
        return built_in().get(step.component).run(context)


def play(step: Step, left: pa.Table = LEFT, right: pa.Table = RIGHT) -> tuple[Any, Any]:
    return outcomes(partial(Owner(left).play, step, "left"), partial(Owner(right).play, step, "right"))


def pairs(ends: tuple[Outcome, Outcome]) -> set[tuple[int, int]]:
    return set(zip(*(rows_or_missing(end.local).tolist() for end in ends), strict=True))


def test_rows_match_where_every_key_column_does() -> None:
    ends = play(step_of("psi/ecdh"))
    assert pairs(ends) == {(0, 2), (1, 0)}
    assert [Cardinality.decode(end.release).matched for end in ends] == [2, 2]


@pytest.mark.parametrize(
    ("join", "more"),
    [
        ("inner", set()),
        ("left", {(2, -1), (3, -1)}),
        ("right", {(-1, 1), (-1, 3)}),
        ("full", {(2, -1), (3, -1), (-1, 1), (-1, 3)}),
    ],
)
def test_joins_keep_unmatched_rows_and_mark_them_at_the_other_owner(join: str, more: set[Any]) -> None:
    ends = play(step_of("psi/ecdh", join=join))
    assert pairs(ends) == {(0, 2), (1, 0)} | more
    for end in ends:
        if -1 in rows_or_missing(end.local):
            with pytest.raises(JobFailed, match="inner join"):
                rows_of(end.local)


def test_repeated_identifiers_are_refused_counted_by_name_of_the_columns() -> None:
    doubled = pa.concat_tables([LEFT, LEFT.slice(1, 2)])
    left, right = play(step_of("psi/ecdh"), left=doubled)
    assert isinstance(left, DuplicateIdentifiers)
    assert "column name, born: expected distinct identifiers, found 2" in str(left)
    assert isinstance(right, PeerAborted)


def test_the_first_of_repeated_rows_stands_for_them_or_all_pairs_match() -> None:
    doubled = pa.concat_tables([LEFT, LEFT.slice(1, 2)])
    assert pairs(play(step_of("psi/ecdh", duplicates="first"), left=doubled)) == {(0, 2), (1, 0)}
    assert pairs(play(step_of("psi/ecdh", duplicates="groups"), left=doubled)) == {(0, 2), (1, 0), (4, 0)}


def test_a_missing_key_column_is_counted() -> None:
    holes = LEFT.set_column(1, "born", pa.array(["1990", None, " ", "1970"]))
    left, _ = play(step_of("psi/ecdh"), left=holes)
    assert isinstance(left, EmptyIdentifiers)
    assert left.count == 2


@pytest.mark.parametrize("component", ["psi/ecdh", "psi/cardinality"])
def test_one_receiver_alone_learns_the_result(component: str) -> None:
    left, right = play(step_of(component, receivers="right"))
    assert (left.release, left.local, left.files) == (None, b"", {})
    assert right.files["table.csv"] == b"matched\r\n2\r\n"


@pytest.mark.parametrize("component", ["psi/ecdh", "psi/cardinality"])
@pytest.mark.parametrize("bounds", [{"minimum_matches": 3}, {"maximum_matches": 1}])
def test_sizes_outside_the_bounds_end_the_step_in_the_same_words(
    component: str, bounds: Mapping[str, int]
) -> None:
    ends = play(step_of(component, **bounds))
    refused = [end for end in ends if isinstance(end, ResultSizeRefused)]
    assert refused
    assert {str(end) for end in refused} == {"the size of the result is outside the limits of this party"}
    assert all(isinstance(end, Exception) for end in ends)


def test_a_count_alone_leaves_no_rows_behind() -> None:
    ends = play(step_of("psi/cardinality"))
    for end in ends:
        assert end.local == b""
        assert end.rows is None
        assert Cardinality.decode(end.release).matched == 2
    opened = built_in().get("psi/cardinality").open_result
    assert opened is not None
    table = opened(step_of("psi/cardinality"), {"left": ends[0].release, "right": ends[1].release})
    assert (table.columns, table.rows) == (("matched",), ((2,),))


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"right": ("who",)}, "inputs"),
        ({"normalise": {"left": [["upper"]], "right": RULES}}, "normalise.left"),
        ({"normalise": {"left": [["upper"], ["rot13"]], "right": RULES}}, "normalise.left"),
        ({"minimum_matches": 5, "maximum_matches": 4}, "maximum_matches"),
        ({"join": "left", "receivers": "left"}, "join"),
        ({"join": "full", "duplicates": "groups"}, "join"),
        ({"join": "outer"}, "join"),
        ({"receivers": "all"}, "receivers"),
        ({"duplicates": "drop"}, "duplicates"),
    ],
)
def test_contradictory_parameters_are_refused_by_name(change: dict[str, Any], at: str) -> None:
    with pytest.raises(InvalidRequest, match=at):
        step_of("psi/ecdh", **change)


@pytest.mark.parametrize("component", ["psi/ecdh", "psi/cardinality"])
def test_estimates_state_the_bytes_of_both_directions(component: str) -> None:
    estimate = built_in().get(component).estimate
    assert estimate is not None
    by_role = estimate(step_of(component), {"left": 1000, "right": 10})
    assert by_role["left"].sent_bytes == by_role["right"].received_bytes
    assert by_role["right"].sent_bytes == by_role["left"].received_bytes
    assert by_role["left"].work_ns == by_role["right"].work_ns > 0


def unbalanced_step(**params: Any) -> Step:
    spec = example_spec()
    step = spec["steps"][0]
    lender, bureau = step["parties"]["left"], step["parties"]["right"]
    inputs = step["inputs"]
    step |= {
        "component": "psi/unbalanced",
        "parties": {"server": bureau, "client": lender},
        "inputs": {"server": inputs["right"], "client": inputs["left"]},
        "recipients": [lender],
        "params": {"normalise": {"server": RULES, "client": RULES}, "minimum_matches": 1, "epoch": 1}
        | params,
    }
    for role, names in (("server", ("who", "year")), ("client", ("name", "born"))):
        step["inputs"][role]["columns"] = [{"name": name, "decimals": 0} for name in names]
    parsed = JobSpec.from_json(spec | {"steps": [step]})
    built_in().check(parsed)
    return parsed.steps[0]


def asked(
    step: Step, folder: Path, server_table: pa.Table = RIGHT, client_table: pa.Table = LEFT
) -> tuple[list[int], int]:
    """Rows that the client finds, and the bytes that the server sends."""
    server = Owner(server_table, kept=Kept(folder / "server", b"s" * 32))
    client = Owner(client_table, kept=Kept(folder / "client", b"c" * 32))
    channels = channel_pair()
    ends = outcomes(partial(server.play, step, "server"), partial(client.play, step, "client"), channels)
    assert all(isinstance(end, Outcome) for end in ends), ends
    assert (ends[0].release, ends[0].files, ends[1].release) == (None, {}, None)  # type: ignore[union-attr]
    return rows_of(ends[1].local).tolist(), channels[0].stats.bytes_sent  # type: ignore[union-attr]


def test_the_tags_of_a_large_set_are_kept_sealed_until_data_or_epoch_change(tmp_path: Path) -> None:
    rows, first = asked(unbalanced_step(), tmp_path)
    assert rows == [0, 1]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert {path.parent.stat().st_mode & 0o777 for path in files} == {0o700}
    kept = {path: path.read_bytes() for path in files}
    assert not any(b"parley kept tags" in content for content in kept.values())
    rows, second = asked(unbalanced_step(), tmp_path)
    assert rows == [0, 1]
    assert second == unbalanced.bytes_sent(0, 4, 0) < first == unbalanced.bytes_sent(0, 4, 4)
    assert {path: path.read_bytes() for path in files if path.parent.name == "server"}.items() <= kept.items()
    rows, third = asked(unbalanced_step(), tmp_path, server_table=RIGHT.slice(0, 2))
    assert (rows, third) == ([1], unbalanced.bytes_sent(0, 4, 2))
    _, fourth = asked(unbalanced_step(epoch=2), tmp_path, server_table=RIGHT.slice(0, 2))
    assert fourth == unbalanced.bytes_sent(0, 4, 2)


def test_kept_tags_that_no_key_opens_are_made_anew(tmp_path: Path) -> None:
    asked(unbalanced_step(), tmp_path)
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    rows, sent = asked(unbalanced_step(), tmp_path)
    assert (rows, sent) == ([0, 1], unbalanced.bytes_sent(0, 4, 4))


def test_the_result_of_an_unbalanced_intersection_goes_to_the_client_alone() -> None:
    with pytest.raises(InvalidRequest, match="epoch"):
        unbalanced_step(epoch=0)
    step = unbalanced_step()
    spec = JobSpec.from_json(example_spec())
    other = replace(spec, steps=(replace(step, recipients=(step.parties["server"],)),))
    with pytest.raises(InvalidRequest, match="recipients"):
        built_in().check(other)


@pytest.mark.parametrize("component", ["psi/ecdh", "psi/cardinality", "psi/rr22"])
def test_a_column_that_repeats_may_be_a_key(component: str) -> None:
    """A published identifier is distinct, so part of a composite key is published as a feature."""
    roles = built_in().get(component).roles.values()
    assert all(given is not None and given.column_roles == {"identifier", "feature"} for given in roles)
