import pytest

from exchange.errors import InvalidRequest
from exchange.jobs.registry import built_in
from exchange.jobs.spec import JobSpec
from exchange.sdk import Identifier, Measure, Reference, Side, matching_spec, statistics_spec

LENDER = Side(
    "did:key:lender", "agreement-a", Identifier(Reference("lender/loans", "customer_id"), ("upper",))
)
BUREAU = Side("did:key:bureau", "agreement-b", Identifier(Reference("bureau/income", "person_id")))
JOB = "job-" + "0" * 26
BILL = Measure(Reference("lender/loans", "bill"), 2)
BAND = Reference("bureau/income", "band")


def statistics(**changed: object) -> dict[str, object]:
    arguments: dict[str, object] = {
        "job": JOB,
        "title": "t",
        "purpose": "dpv:CustomerSolvencyMonitoring",
        "reader": "did:key:analyst",
        "sides": [LENDER, BUREAU],
        "measures": [BILL],
        "group": BAND,
        "min_cohort": 10,
    }
    return statistics_spec(**(arguments | changed))  # type: ignore[arg-type]


def matching() -> dict[str, object]:
    return matching_spec(
        job=JOB,
        title="t",
        purpose="dpv:CustomerSolvencyMonitoring",
        reader="did:key:analyst",
        left=LENDER,
        right=BUREAU,
        minimum_matches=10,
    )


@pytest.mark.parametrize("spec", [statistics(), matching()], ids=["statistics", "matching"])
def test_what_is_written_is_what_the_nodes_accept(spec: dict[str, object]) -> None:
    parsed = JobSpec.from_json(spec)
    built_in().check(parsed)
    assert parsed.agreements == {"lender/loans": "agreement-a", "bureau/income": "agreement-b"}


def test_the_measure_is_read_at_its_owner_and_the_group_at_the_other() -> None:
    step = JobSpec.from_json(statistics()).step("statistics")
    assert step.parties == {"measure_holder": "did:key:lender", "group_holder": "did:key:bureau"}
    assert step.inputs["measure_holder"].columns[0].decimals == 2
    assert step.inputs["group_holder"].columns[0].name == "band"


def test_the_sides_may_come_in_any_order() -> None:
    assert statistics(sides=[BUREAU, LENDER]) == statistics()


def test_only_the_reader_is_a_recipient() -> None:
    spec = JobSpec.from_json(statistics())
    assert {name for step in spec.steps for name in step.recipients} == {"did:key:analyst"}
    assert spec.step("match").recipients == ()


@pytest.mark.parametrize(
    "changed",
    [
        {"group": Reference("lender/loans", "band")},
        {"group": Reference("other/table", "band")},
        {"measures": []},
        {"measures": [BILL, Measure(BAND)]},
        {"sides": [LENDER, LENDER]},
    ],
)
def test_columns_of_the_wrong_owner_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        statistics(**changed)


def test_matching_needs_two_assets() -> None:
    with pytest.raises(InvalidRequest, match="two different assets"):
        matching_spec(
            job=JOB, title="t", purpose="p", reader="r", left=LENDER, right=LENDER, minimum_matches=1
        )


def test_references_and_measures_are_read_from_their_written_form() -> None:
    assert Reference.parse("lender/loans:bill") == Reference("lender/loans", "bill")
    assert Measure.parse("lender/loans:bill") == Measure(Reference("lender/loans", "bill"), 0)
    assert Measure.parse("lender/loans:bill:2") == BILL


@pytest.mark.parametrize(
    "text", ["", "loans:bill", "lender/loans", "lender/:bill", "/loans:bill", "lender/loans:"]
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        Reference.parse(text)


@pytest.mark.parametrize("text", ["lender/loans:bill:x", "lender/loans:bill:10", "lender/loans:bill:-1"])
def test_decimals_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="decimals"):
        Measure.parse(text)
