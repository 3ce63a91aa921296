"""Policies that another party wrote to be misread: what is not plainly of the profile is refused."""

from __future__ import annotations

import copy
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from policies import CONTEXT, PROFILE, InvalidPolicy, Policy, facts, terms
from policies.evaluate import evaluate
from policies.prepared import MAX_BYTES, prepare
from policies.words import describe, is_understood

REQUEST = facts.parse({"action": "use", "count": 1, "purpose": "dpv:LegalCompliance"})


def policy(*constraints: Any, **keys: Any) -> dict[str, Any]:
    permission: dict[str, Any] = {"action": "use"}
    if constraints:
        permission["constraint"] = list(constraints)
    base = {"@context": list(CONTEXT), "@type": "Set", "profile": PROFILE, "permission": [permission]}
    return base | keys


def at_most(operand: str = "count", operator: str = "lteq", right: Any = 3) -> dict[str, Any]:
    return {"leftOperand": operand, "operator": operator, "rightOperand": right}


def refuses(document: object) -> bool:
    """Whether nothing is permitted under a document, however it is read."""
    try:
        return not prepare(document).evaluate(REQUEST).permitted
    except InvalidPolicy:
        return True


def test_the_policy_that_the_attacks_start_from_permits() -> None:
    assert not refuses(policy(at_most()))
    assert not refuses(policy())


@pytest.mark.parametrize(
    "operand",
    [
        "moonPhase",
        "Count",
        "count ",
        "odrl:count",
        "parley:count",
        "http://www.w3.org/ns/odrl/2/count",
        "соunt",  # Cyrillic s and o
        "ｃｏｕｎｔ",  # full width
        "co\u200bunt",  # a space of no width
        "c\u006f\u0308unt",
        "__class__",
        "action",
        "fulfilled",
    ],
)
def test_an_operand_that_only_looks_known_permits_nothing(operand: str) -> None:
    document = policy(at_most(operand))
    report = prepare(document).evaluate(REQUEST)
    assert (report.permitted, report.codes) == (False, ("policy.unknown-operand",))
    alternative = policy({"or": [at_most(), at_most(operand)]})
    assert refuses(alternative), "an alternative that is understood does not save the policy"
    assert not is_understood(Policy.parse(document))
    assert any("not understood" in line for line in describe(Policy.parse(document)))


@pytest.mark.parametrize(
    "context",
    [
        list(reversed(CONTEXT)),
        [*CONTEXT, "https://evil.example/context.jsonld"],
        ["https://evil.example/context.jsonld"],
        [*CONTEXT, {"count": "https://evil.example/anything"}],
        [CONTEXT[0], {"@vocab": "https://evil.example/"}],
        {"@vocab": "http://www.w3.org/ns/odrl/2/"},
        CONTEXT[0],
        [CONTEXT[0].replace("http:", "https:"), CONTEXT[1]],
        [CONTEXT[0], CONTEXT[1] + "#"],
        [CONTEXT[0], CONTEXT[1].replace("parley", "pаrley")],  # Cyrillic a
        None,
        [],
    ],
)
def test_a_context_other_than_the_profiles_is_refused_and_nothing_is_fetched(
    context: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connected(*_: object, **__: object) -> None:
        raise AssertionError("a policy made this process open a connection")

    monkeypatch.setattr(socket, "create_connection", connected)
    monkeypatch.setattr(socket.socket, "connect", connected)
    with pytest.raises(InvalidPolicy) as caught:
        prepare(policy(at_most(), **{"@context": context}))
    assert caught.value.path == "$.@context"


@pytest.mark.parametrize(
    "keys",
    [
        {"@graph": [policy()]},
        {"@reverse": {"permission": {}}},
        {"@included": [policy()]},
        {"@nest": {}},
        {"odrl:permission": [{"action": "use"}]},
        {"http://www.w3.org/ns/odrl/2/permission": [{"action": "use"}]},
        {"conflict": "perm"},
        {"inheritFrom": "https://evil.example/policy"},
        {"@type": ["Set", "Offer"]},
        {"@type": "odrl:Set"},
        {"profile": [PROFILE]},
        {"profile": PROFILE + "/"},
        {"permission": {"action": "use"}},
        {"permission": [{"@id": "https://evil.example/rule"}]},
        {"permission": [{"action": "use", "target": "other"}]},
        {"permission": [{"action": {"@id": "odrl:use"}}]},
        {"permission": [{"action": ["use", "sell"]}]},
        {"permission": [{"action": {"rdf:value": {"@id": "odrl:use"}, "refinement": []}}]},
        {
            "permission": [
                {"action": {"rdf:value": {"@id": "http://x/use"}, "refinement": [at_most()]}},
            ]
        },
        {"permission": [{"action": "use", "duty": []}]},
        {"permission": [{"action": "use", "duty": [{"action": "inform", "consentingParty": ["did:x"]}]}]},
        {"permission": [{"action": "use", "duty": [{"action": "delete", "informedParty": ["did:x"]}]}]},
    ],
    ids=lambda keys: json.dumps(keys)[:60],
)
def test_other_ways_in_which_json_ld_says_things_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(InvalidPolicy):
        prepare(policy(**keys))


@pytest.mark.parametrize(
    "right",
    [
        {"@value": 3},
        {"@value": "3", "@type": "xsd:integer"},
        {"@id": "urn:three"},
        {"@list": ["a"]},
        [3],
        [[3]],
        3.0,
        True,
        None,
        2**60,
        "",
        [],
    ],
)
def test_values_that_json_ld_would_fold_into_others_are_refused(right: object) -> None:
    with pytest.raises(InvalidPolicy):
        prepare(policy(at_most(right=right)))


@pytest.mark.parametrize("right", ["3", "٣", "1e9", "0x3", " 3", "3.0"])  # the second is Arabic
def test_a_number_that_is_a_text_is_no_number(right: str) -> None:
    assert prepare(policy(at_most(right=right))).evaluate(REQUEST).codes == ("policy.invalid-value",)


def nested(levels: int, word: str = "and") -> dict[str, Any]:
    inner: dict[str, Any] = at_most()
    for _ in range(levels):
        inner = {word: [inner]}
    return inner


def loop() -> dict[str, Any]:
    inner: dict[str, Any] = {}
    inner["and"] = [inner] * 200
    return policy(inner)


def lattice() -> dict[str, Any]:
    """A small document in memory that is 200**7 constraints once it is walked."""
    inner: Any = at_most()
    for _ in range(7):
        inner = {"or": [inner] * 200}
    return policy(inner)


@pytest.mark.parametrize(
    "made",
    [
        lambda: policy(nested(9)),
        lambda: policy(nested(900)),
        lambda: policy(nested(8_000)),
        lambda: policy(nested(100_000)),
        lambda: policy(*[at_most()] * 257),
        lambda: policy(*[nested(2)] * 200, prohibition=[{"action": "use"}] * 257),
        lambda: policy(at_most(right=[f"v{i}" for i in range(257)])),
        lambda: policy(at_most(right="x" * 1025)),
        lambda: policy(*[at_most(right=["y" * 1000 + str(i) for i in range(200)])] * 20),
        loop,
        lattice,
    ],
    ids="9-deep 900-deep 8000-deep deep wide many-rules long-list long-text big loop lattice".split(),
)
def test_a_deep_huge_or_endless_policy_is_refused_before_it_is_walked(made: Callable[[], Any]) -> None:
    document = made()
    for read in (prepare, Policy.parse):
        with pytest.raises(InvalidPolicy):
            read(document)


def test_the_largest_policy_that_is_read_is_still_decided() -> None:
    values = [f"{'v' * 40}{i}" for i in range(200)]
    document = policy(*[{"or": [at_most("columns", "isPartOf", values)]} for _ in range(6)])
    assert len(json.dumps(document)) < MAX_BYTES
    assert refuses(document), "the request names no columns"


def test_no_change_of_one_value_widens_what_is_permitted() -> None:
    """Every value of a restrictive policy replaced by hostile ones: never a permit that was a refusal."""
    document = policy(at_most(right=0), prohibition=[{"action": "use", "constraint": [at_most(right=9)]}])
    hostile = [None, True, -1, 2**53, 1.5, "", "\x00", "use", [], {}, ["use"], {"@id": "use"}, "\ud800"]
    tried = 0
    for path in paths(document):
        for value in hostile:
            changed = copy.deepcopy(document)
            place = changed
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
            tried += 1
            assert refuses(changed), (path, value)
    assert tried > 200


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path for key in keys for path in ((*at, key), *paths(value[key], (*at, key)))]


def test_text_of_a_policy_reaches_a_screen_without_control_characters() -> None:
    hostile = "x\x1b[2J\u202e\r\n{0.__class__}%s"
    document = policy(
        at_most(hostile, hostile, hostile),
        assigner=hostile,
        obligation=[{"action": hostile}, {"action": "inform", "informedParty": [hostile]}],
        target=hostile,
    )
    parsed = Policy.parse(document | {"@type": "Offer"})
    for language in ("en", "zh"):
        said = (*describe(parsed, language), *evaluate(parsed, REQUEST).explain(language))  # type: ignore[arg-type]
        assert not any(character in "".join(said) for character in "\x1b\u202e\r\n")


def test_a_policy_in_other_terms_is_not_read_as_terms() -> None:
    for document in (policy(), policy(at_most()), policy(at_most("moonPhase"))):
        with pytest.raises(InvalidPolicy):
            terms.from_policy(document)
