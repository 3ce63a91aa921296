"""Tables of partial scores, sealed parts, and the sum of partial scores."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from connectors.errors import DuplicateIdentifiers, EmptyIdentifiers, InvalidIdentifiers, MissingValues
from exchange.errors import Conflict, InvalidRequest, SealBroken
from exchange.identity import NodeKeys
from exchange.jobs.boosting.part import Structure, TreesPart
from exchange.jobs.regression.held_out import HeldOut
from exchange.jobs.regression.part import ModelPart
from exchange.jobs.scorecard.tables import BinnedColumn, OwnCard, ScoredColumn, StatedScale
from exchange.scoring.answers import ABSENT, Partial, encode_answer, read_answer
from exchange.scoring.asking import Reason, Score, combine
from exchange.scoring.errors import ScoreFailed
from exchange.scoring.partials import PartialTable, make_table
from exchange.scoring.parts import open_part, seal_part
from exchange.scoring.requests import Filing
from exchange.scoring.served import ServedPart, served_part, without_rows
from federated.boosting import Objective, OwnSplit, Split, Tree
from ledger.errors import CommitmentMismatch
from mpc.errors import InvalidInput

SECRET = b"s" * 32
PART = ModelPart(
    family="logistic",
    columns=("income", "age"),
    coefficients=("-1.5", "0.25"),
    means=("2000", "40"),
    deviations=("500", "10"),
    intercept="0.125",
    label_mean="0",
    label_deviation="1",
    epochs=3,
    losses=(),
    held_out=HeldOut("00", 0),
)
CARD = OwnCard(
    columns=(
        ScoredColumn(
            BinnedColumn("income", ("1800.0",), (), "alone", (9, 9, 9), (1, 1, 1), ("0", "0", "0"), "0"),
            ("-3", "-12", "8"),
        ),
        ScoredColumn(
            BinnedColumn(
                "town", (), (("north",), ("south", "west")), "nowhere", (9, 9), (1, 1), ("0", "0"), "0"
            ),
            ("5", "-4"),
        ),
    ),
    base="590",
    epochs=3,
    scale=StatedScale("20", "600", "50", "300", "850"),
)
SERVED = served_part("model/logistic", PART.encode())
IDS = [f"p{number}" for number in range(500)]
RNG = np.random.Generator(np.random.PCG64(3))
ROWS = pa.record_batch(
    {"id": IDS, "income": RNG.normal(2000, 500, 500), "age": RNG.integers(18, 90, 500)},
)


def plain(number: int) -> float:
    income, age = (ROWS.column(name)[number].as_py() for name in ("income", "age"))
    return 0.125 - 1.5 * (income - 2000) / 500 + 0.25 * (age - 40) / 10


def made(folder: Path, rows: list[pa.RecordBatch], rules: tuple[str, ...] = ()) -> PartialTable:
    path = folder / "1.npy"
    assert make_table(path, rows, "id", rules, SERVED, SECRET) == sum(batch.num_rows for batch in rows)
    return PartialTable(path, rules, SECRET)


def test_a_table_finds_the_partial_score_of_each_person(tmp_path: Path) -> None:
    table = made(tmp_path, [ROWS.slice(0, 333), ROWS.slice(333)], ("trim", "lower"))
    assert len(table) == 500
    *known, nobody = SERVED.partials(*table.find([" P7", "p499", "p0", "nobody"]), 0)
    assert [one.value for one in known] == pytest.approx([plain(7), plain(499), plain(0)], rel=1e-12)
    assert nobody == ABSENT
    found, is_known = table.find(IDS)
    assert is_known.all()
    assert np.array_equal(found, SERVED.words(ROWS, by_column=False))
    assert not list(tmp_path.glob("*.partial"))


def test_a_table_names_nobody_without_the_nodes_key(tmp_path: Path) -> None:
    made(tmp_path, [ROWS])
    other = PartialTable(tmp_path / "1.npy", (), b"t" * 32)
    assert not other.find(IDS)[1].any()
    assert b"p499" not in (tmp_path / "1.npy").read_bytes()


def test_a_table_of_no_rows_finds_nobody(tmp_path: Path) -> None:
    assert made(tmp_path, []).find(["p1"])[1].tolist() == [False]


def test_rows_that_cannot_be_served_are_counted_and_the_table_before_stays(tmp_path: Path) -> None:
    made(tmp_path, [ROWS])
    before = (tmp_path / "1.npy").read_bytes()
    doubled = pa.record_batch({"id": ["a", "A", "b"], "income": [1.0, 2.0, 3.0], "age": [1, 2, 3]})
    empty = pa.record_batch({"id": ["a", None, ""], "income": [1.0, 2.0, 3.0], "age": [1, 2, 3]})
    missing = pa.record_batch({"id": ["a", "b"], "income": [1.0, None], "age": [1, 2]})
    for rows, error in ((doubled, DuplicateIdentifiers), (empty, EmptyIdentifiers), (missing, MissingValues)):
        with pytest.raises(error) as caught:
            make_table(tmp_path / "1.npy", [rows], "id", ("lower",), SERVED, SECRET)
        assert str(2 if rows is empty else 1) in str(caught.value)
    assert (tmp_path / "1.npy").read_bytes() == before


def test_an_identifier_that_is_none_by_the_rules_is_refused_without_its_value(tmp_path: Path) -> None:
    make_table(tmp_path / "1.npy", [], "id", ("e164-86",), SERVED, SECRET)
    with pytest.raises(InvalidIdentifiers) as caught:
        PartialTable(tmp_path / "1.npy", ("e164-86",), SECRET).find(["no number"])
    assert "no number" not in str(caught.value)


@pytest.fixture(scope="module")
def keys() -> NodeKeys:
    return NodeKeys.generate("lender", "test.parley", "127.0.0.1")


def test_a_part_that_was_altered_or_is_of_another_version_does_not_open(keys: NodeKeys) -> None:
    commitment, sealed = seal_part(keys, "lender/late", 1, PART.encode())
    assert open_part(keys, "lender/late", 1, sealed, commitment) == PART.encode()
    other, _ = seal_part(keys, "lender/late", 1, replace(PART, intercept="9").encode())
    with pytest.raises(CommitmentMismatch):
        open_part(keys, "lender/late", 1, sealed, other)
    with pytest.raises(SealBroken):
        open_part(keys, "lender/late", 2, sealed, commitment)
    with pytest.raises(SealBroken):
        open_part(keys, "lender/late", 1, sealed[:-1] + b"\0", commitment)
    assert b"income" not in sealed


def test_the_same_part_never_has_the_same_commitment(keys: NodeKeys) -> None:
    assert (
        seal_part(keys, "lender/late", 1, PART.encode())[0]
        != seal_part(keys, "lender/late", 1, PART.encode())[0]
    )


def regression(family: str, mean: str = "0", deviation: str = "1") -> ServedPart:
    part = replace(PART, family=family, label_mean=mean, label_deviation=deviation)
    return served_part(f"model/{family}", part.encode())


def combined(part: ServedPart, *fallback: str, **values: float | None) -> Score:
    told = {name: [Partial(value)] for name, value in values.items()}
    [one] = combine(part, told, set(fallback))
    return one


def test_a_logistic_score_is_the_sum_and_its_probability_even_far_out() -> None:
    one = combined(regression("logistic"), lender=0.5, bureau=-2.0)
    assert one.score == -1.5
    assert one.probability == pytest.approx(1 / (1 + math.exp(1.5)))
    for score, probability in ((2000.0, 1.0), (-2000.0, 0.0)):
        assert combined(regression("logistic"), lender=score).probability == probability


def test_scores_of_linear_models_and_of_counts_are_in_the_labels_own_unit() -> None:
    one = combined(regression("linear", "100", "20"), lender=0.5, bureau=-0.25)
    assert (one.score, one.probability) == (105.0, None)
    counted = combined(regression("poisson", "0", "3"), lender=0.5, bureau=-0.25)
    assert counted.score == pytest.approx(3 * math.exp(0.25))
    assert counted.probability is None
    with pytest.raises(ScoreFailed, match="unlike"):
        combined(regression("poisson"), lender=300.0)


def test_the_score_of_a_card_is_the_sum_of_points_of_each_persons_bins_within_its_limits() -> None:
    card = served_part("model/scorecard", CARD.encode())
    assert card.columns == ("income", "town")
    rows = pa.record_batch({"income": [1000.0, None, 1800.0], "town": ["west", "north", "south"]})
    words = card.words(rows, by_column=True)
    assert words.shape == (card.width(by_column=True), 3)
    assert words.view(np.float64).tolist() == [[574, 592, 594], [-12, -3, 8], [-4, 5, -4]]
    one = combined(card, lender=574.0, bureau=26.0)
    assert one.score == 600
    assert one.probability == pytest.approx(1 / 51)
    double = combined(card, lender=620.0)
    assert double.probability == pytest.approx(1 / 101)
    assert combined(card, lender=2000.0).score == 850
    unseen = pa.record_batch({"income": [1000.0, 1.0], "town": ["west", "east"]})
    with pytest.raises(InvalidInput, match="town: 1 of 2 rows have a category without a bin") as caught:
        card.words(unseen, by_column=False)
    assert "east" not in str(caught.value)


def test_a_partial_that_is_absent_is_named_whether_or_not_something_stands_for_it() -> None:
    partials = {"lender": 0.5, "bureau": None, "tax": None}
    whole = combined(regression("linear"), "bureau", "tax", **partials)
    assert (whole.score, whole.fallbacks, whole.missing) == (0.5, ("bureau", "tax"), ())
    broken = combined(regression("linear"), "tax", **partials)
    assert (broken.score, broken.probability, broken.missing) == (None, None, ("bureau",))
    assert "0.5" not in repr(whole)


def test_the_columns_that_take_most_points_off_are_the_reasons_the_worst_first(tmp_path: Path) -> None:
    card = served_part("model/scorecard", CARD.encode())
    rows = pa.record_batch({"id": ["a", "b"], "income": [1000.0, 1800.0], "town": ["west", "north"]})
    make_table(tmp_path / "1.npy", [rows], "id", (), card, SECRET, by_column=True)
    found = PartialTable(tmp_path / "1.npy", (), SECRET).find(["a", "b", "nobody"])
    first, second, nobody = card.partials(*found, 1)
    assert (first, second) == (Partial(574, (("income", -12.0),)), Partial(603))
    assert nobody == ABSENT
    [both, *_] = card.partials(*found, 8)
    assert both.reasons == (("income", -12.0), ("town", -4.0))
    assert card.partials(*found, 0) == [Partial(574), Partial(603), ABSENT]
    [one] = combine(card, {"bureau": [both], "lender": [Partial(0.0, (("debt", -7.0),))]}, set())
    assert one.reasons == (
        Reason("bureau", "income", -12.0),
        Reason("lender", "debt", -7.0),
        Reason("bureau", "town", -4.0),
    )
    assert "12" not in repr(one)


TREES = (
    Tree({1: Split(0, 0, 1.0), 2: Split(1, 1, 1.0)}, {3: 0.5, 4: -1.0, 5: 2.0}),
    Tree({1: Split(1, 0, 1.0)}, {2: 0.25, 3: -0.25}),
)
OWN = {
    "lender": TreesPart(
        ("debt",),
        (OwnSplit(0, 10.0),),
        HeldOut("00", 0),
        Objective.LOGISTIC,
        Structure((0.125,), TREES, np.array([[0.5, 0.75]]), (0.6,), ()),
    ),
    "bureau": TreesPart(
        ("income", "age"), (OwnSplit(0, 100.0), OwnSplit(1, 30.0)), HeldOut("00", 0), Objective.LOGISTIC
    ),
}


def followed(debt: float, income: float, age: float) -> float:
    first = 0.5 if debt > 10 else -1.0 if age <= 30 else 2.0
    return 0.125 + first + (0.25 if income <= 100 else -0.25)


def test_trees_are_followed_by_the_sides_that_each_owner_tells() -> None:
    people = [(5.0, 50.0, 20.0), (5.0, 200.0, 40.0), (20.0, 100.0, 30.0), (10.0, 101.0, 31.0)]
    debt, income, age = map(list, zip(*people, strict=True))
    rows = {"lender": {"debt": debt}, "bureau": {"income": income, "age": age}}
    served = {name: served_part("model/boosting", part.encode()) for name, part in OWN.items()}
    told = {}
    for name, part in served.items():
        words = part.words(pa.record_batch(rows[name]), by_column=False)
        assert words.shape == (1, 4)
        told[name] = part.partials(words, np.array([True, True, True, name == "lender"]), 0)
    assert served["lender"].splits(3) == (1, 2, 0)
    answered = read_answer(encode_answer(told["bureau"]), 4, splits=2)
    assert answered == told["bureau"]
    *scored, last = combine(served["lender"], told, set())
    assert [one.score for one in scored] == [followed(*person) for person in people[:3]]
    assert scored[0].probability == pytest.approx(1 / (1 + math.exp(-followed(*people[0]))))
    assert (last.score, last.missing) == (None, ("bureau",))
    for wrong in (1, 9, None):
        with pytest.raises(ScoreFailed):
            read_answer(encode_answer(told["bureau"]), 4, splits=wrong)
    with pytest.raises(Conflict, match="structure"):
        served["bureau"].splits(2)


def test_trees_are_kept_without_the_rows_they_grew_on_and_those_of_classes_do_not_serve() -> None:
    kept = TreesPart.decode(without_rows("model/boosting", OWN["lender"].encode()))
    assert kept.structure is not None
    assert kept.structure.scores.shape == (1, 0)
    assert kept.structure.trees == TREES
    assert without_rows("model/boosting", OWN["bureau"].encode()) == OWN["bureau"].encode()
    assert without_rows("model/logistic", PART.encode()) == PART.encode()
    with pytest.raises(Conflict, match="several classes"):
        served_part("model/boosting", replace(OWN["bureau"], objective=Objective.SOFTMAX).encode())


def test_an_answer_is_read_back_and_another_form_is_the_owners_fault() -> None:
    told = [Partial(1.5, (("income", -12.0),)), ABSENT]
    raw = encode_answer(told)
    assert read_answer(raw, 2, ("income", "town"), 1) == told
    for columns, most in (((), 1), (("town",), 1), (("income",), 0)):
        with pytest.raises(ScoreFailed):
            read_answer(raw, 2, columns, most)
    for other in (
        b"",
        b"[]",
        b"{}",
        b'{"partials":["1","2"]}',
        b'{"partials":["1"],"reasons":[[],[]]}',
        b'{"partials":["1","2"],"reasons":[[],[["income"]]]}',
        b'{"partials":["1","2"],"reasons":[[],[["income","nan"]]]}',
        b'{"partials":["1","2"],"reasons":[[],[["income","1"],["income","1"]]]}',
        encode_answer([Partial(1.0)]),
        encode_answer([Partial(math.nan), Partial(1.0)]),
        b'{"partials":["x","1"],"reasons":[[],[]]}',
    ):
        with pytest.raises(ScoreFailed):
            read_answer(other, 2, ("income",), 1)


def test_a_filing_names_rules_that_exist() -> None:
    filing = Filing(asset=None, key="id", rules=("trim", "soundex"), fallback="mean", minute=5, day=None)
    with pytest.raises(InvalidRequest, match="soundex"):
        filing.check()
    assert filing.rates() == {"minute": 5}
