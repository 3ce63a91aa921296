"""The job specification is read strictly, has one encoding, and its digest covers all of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from exchange.errors import InvalidRequest
from exchange.jobs.registry import Registry, built_in, code_digest
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import ANALYST, BUREAU, LENDER
from exchange.jobs.testing import example_spec as example
from ledger import canonical


def test_a_specification_survives_encoding() -> None:
    spec = JobSpec.from_json(example())
    assert JobSpec.parse(spec.encode()) == spec
    assert spec.encode() == canonical.encode(example())


def test_the_built_in_components_accept_the_example() -> None:
    built_in().check(JobSpec.from_json(example()))


def test_the_digest_covers_every_leaf() -> None:
    digests = {JobSpec.from_json(example()).digest()}
    changes = [
        lambda s: s.update(title="other"),
        lambda s: s.update(purpose="dpv:DirectMarketing"),
        lambda s: s["agreements"].update({"lender/loans": "agreement-9"}),
        lambda s: s["steps"][0]["params"].update(minimum_matches=11),
        lambda s: s["steps"][1]["inputs"]["group_holder"]["columns"][0].update(name="age"),
        lambda s: s["steps"][1].update(recipients=[BUREAU]),
    ]
    for change in changes:
        value = example()
        change(value)
        digests.add(JobSpec.from_json(value).digest())
    assert len(digests) == len(changes) + 1


def _paths(value: object, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in [(*at, k), *_paths(v, (*at, k))]]
    if isinstance(value, list):
        return [p for i, v in enumerate(value) for p in _paths(v, (*at, i))]
    return []


FREE = {"agreements", "parties", "inputs", "params"}
FIELDS = [p for p in _paths(example()) if not any(str(k) in FREE for k in p[:-1]) or "columns" in p[:-1]]


@pytest.mark.parametrize("path", FIELDS, ids=lambda p: ".".join(map(str, p)))
def test_a_missing_field_is_named(path: tuple[str | int, ...]) -> None:
    value: Any = example()
    target = value
    for key in path[:-1]:
        target = target[key]
    del target[path[-1]]
    with pytest.raises(InvalidRequest) as caught:
        JobSpec.from_json(value)
    assert str(path[-1]) in caught.value.field


@pytest.mark.parametrize("at", [(), ("steps", 0), ("steps", 0, "inputs", "left")], ids=str)
def test_an_unknown_field_is_named(at: tuple[str | int, ...]) -> None:
    value: Any = example()
    target = value
    for key in at:
        target = target[key]
    target["surprise"] = 1
    with pytest.raises(InvalidRequest, match="surprise"):
        JobSpec.from_json(value)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda s: s["steps"][2].update(after=["later"]), "after"),
        (lambda s: s["steps"][1].update(id="match"), "id"),
        (lambda s: s["steps"][0]["inputs"].update(middle=s["steps"][0]["inputs"]["left"]), "middle"),
        (lambda s: s.update(job="job-1"), "job"),
        (lambda s: s.update(v=2), "v"),
        (lambda s: s["steps"][1].update(recipients=[ANALYST, BUREAU]), "recipients"),
    ],
)
def test_an_inconsistent_specification_is_refused_by_field(change: Any, field: str) -> None:
    value = example()
    change(value)
    with pytest.raises(InvalidRequest) as caught:
        JobSpec.from_json(value)
    assert field in caught.value.field


def test_bytes_in_another_spelling_are_refused() -> None:
    raw = JobSpec.from_json(example()).encode()
    with pytest.raises(InvalidRequest, match="canonical"):
        JobSpec.parse(raw.replace(b'"v":1', b'"v": 1'))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda s: s["steps"][0].update(component="psi/unknown"), "component"),
        (lambda s: s["steps"][0].update(version=2), "version"),
        (lambda s: s["steps"][0]["params"].update(extra=1), "extra"),
        (lambda s: s["steps"][0]["params"].pop("minimum_matches"), "minimum_matches"),
        (lambda s: s["steps"][0]["params"].update(minimum_matches=0), "minimum_matches"),
        (
            lambda s: s["steps"][0]["params"].update(normalise={"left": ["rot13"], "right": []}),
            "normalise.left",
        ),
        (lambda s: s["steps"][0]["parties"].update(right=LENDER), "parties"),
        (lambda s: s["steps"][1]["params"].update(min_cohort="ten"), "min_cohort"),
        (lambda s: s["steps"][1].update(after=[]), "after"),
        (lambda s: s["steps"][2]["params"].update(plot="pie"), "plot"),
        (lambda s: s["steps"][1]["inputs"].pop("group_holder"), "group_holder"),
    ],
)
def test_a_step_that_its_component_does_not_declare_is_refused(change: Any, field: str) -> None:
    value = copy.deepcopy(example())
    change(value)
    with pytest.raises(InvalidRequest) as caught:
        built_in().check(JobSpec.from_json(value))
    assert field in caught.value.field


def test_a_component_stands_once_in_a_registry() -> None:
    component = next(iter(built_in()))
    with pytest.raises(ValueError, match="twice"):
        Registry([component, component])


def test_every_protocol_component_states_its_security() -> None:
    for component in built_in():
        claim = component.as_json()["security"]
        assert component.protocol is None or (claim and set(claim["leaks"]) and claim["source"])


def test_the_code_digest_is_stable() -> None:
    assert code_digest() == code_digest()
    assert len(code_digest()) == 64
