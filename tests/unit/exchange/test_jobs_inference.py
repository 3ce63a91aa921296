"""A network of torch as a job's step: its file, its layers, and scores that are torch's own."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from connectors.documents import CONTENT
from connectors.errors import MissingValues
from exchange.errors import ExchangeError, InvalidRequest, JobFailed
from exchange.jobs.component import Outcome, StepContext
from exchange.jobs.inference.component import ABY3, CHEETAH
from exchange.jobs.inference.sequential import Sequential
from exchange.jobs.inference.state_dict import MAX_BYTES, network, saved, tensors
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import JOB, nothing_lent
from mpc.engines import networks
from mpc.engines.networks import Layer
from mpc.engines.shares import Sharing
from mpc.engines.testing import ClearEngine
from mpc.errors import MpcError, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of
from policies.column_control import Level

FOLDER = Path(__file__).parents[2] / "vectors" / "torch_network"
SAVED = (FOLDER / "network.safetensors").read_bytes()
TORCH = json.loads((FOLDER / "scores.json").read_text())
ROWS = pa.table({name: [row[at] for row in TORCH["rows"]] for at, name in enumerate("abc")})
PARAMS = {"layers": TORCH["layers"], "bound": "2.0", "min_cohort": 5, "max_rows": 25}
CLIENT, OWNER = "did:key:zClient", "did:key:zOwner"
KINDS = {Sharing.ABY3: ABY3, Sharing.CHEETAH: CHEETAH}


def spec_of(kind: Sharing = Sharing.ABY3, **change: Any) -> JobSpec:
    parties = {"client": CLIENT, "model_owner": OWNER, "helper": "did:key:zHelper"}
    step: dict[str, Any] = {
        "id": "score",
        "component": f"model/inference-{kind}",
        "version": 1,
        "parties": {role: parties[role] for role in KINDS[kind].roles},
        "inputs": {
            "client": {"asset": "client/rows", "columns": [{"name": one, "decimals": 0} for one in "abc"]},
            "model_owner": {"asset": "owner/network", "columns": [{"name": CONTENT, "decimals": 0}]},
        },
        "after": [],
        "params": PARAMS | change.pop("params", {}),
        "recipients": [CLIENT],
    }
    whole = {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [step | change]}
    return JobSpec.from_json(whole)


# The file.


def file_of(header: object, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def tensor(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_a_file_that_torch_saved_is_read() -> None:
    found = tensors(SAVED)
    shapes = {name: one.shape for name, one in found.items()}
    assert shapes["0.weight"] == (8, 3)
    assert shapes["4.bias"] == (1,)
    assert all(one.dtype == np.float64 and np.isfinite(one).all() for one in found.values())


def test_tensors_of_all_taken_types_and_metadata_are_read() -> None:
    values = np.array([1.5, -2.0, 0.25])
    for name, kind in (("F16", "<f2"), ("F32", "<f4"), ("F64", "<f8")):
        data = values.astype(kind).tobytes()
        header = {"__metadata__": {"format": "pt"}, "x": tensor([3], 0, len(data), name)}
        assert tensors(file_of(header, data))["x"].tolist() == values.tolist()


def test_what_is_written_without_torch_is_read_again() -> None:
    numbers = {"0.weight": np.array([[1.5, -2.0]], np.float32), "0.bias": np.array([0.25], np.float32)}
    found = tensors(saved(numbers))
    assert {name: one.tolist() for name, one in found.items()} == {
        name: one.tolist() for name, one in numbers.items()
    }


BAD_FILES = {
    "nothing": (b"", "model: expected at least 8 bytes, got 0"),
    "cut-off-header": (SAVED[:100], "model.header"),
    "cut-off-data": (SAVED[:-1], "model: expected 292 bytes of tensors, as its header says, got 291"),
    "trailing": (SAVED + b"\0", "got 293"),
    "oversized": (bytes(MAX_BYTES + 1), f"model: expected at most {MAX_BYTES} bytes"),
    "header-too-long": (file_of(b" " * 20_000), "a header of at most 16384 bytes"),
    "header-far-too-long": (struct.pack("<Q", 2**63) + b"{}", "a length of 9223372036854775808"),
    "no-json": (file_of(b"{"), "JSON with distinct names"),
    "no-utf8": (file_of(b'{"\xff": 1}'), "JSON with distinct names"),
    "deep": (file_of(b"[" * 16_000), "JSON with distinct names"),
    "not-a-number": (file_of(b'{"x": NaN}'), "JSON with distinct names"),
    "twice": (
        file_of(b'{"x": {}, "x": {}}'),
        "JSON with distinct names",
    ),
    "no-object": (file_of([1]), "an object of tensors"),
    "empty": (file_of({}), "an object of tensors"),
    "no-tensor": (file_of({"x": 3}), "model.x: expected dtype, shape and data_offsets"),
    "more-fields": (file_of({"x": tensor([1], 0, 4) | {"y": 1}}), "model.x: expected dtype"),
    "odd-name": (file_of({"x\n": tensor([1], 0, 4)}), "printable characters"),
    "integers": (file_of({"x": tensor([1], 0, 4, "I32")}, bytes(4)), "model.x.dtype: expected one of F16"),
    "dtype-list": (file_of({"x": tensor([1], 0, 4) | {"dtype": []}}, bytes(4)), "model.x.dtype"),
    "negative": (file_of({"x": tensor([-1], 0, 4)}, bytes(4)), "model.x.shape"),
    "truth": (file_of({"x": tensor([1], 0, 4) | {"shape": [True]}}, bytes(4)), "model.x.shape"),
    "huge": (file_of({"x": tensor([10**9, 10**9], 0, 4)}, bytes(4)), "model.x.shape"),
    "cube": (file_of({"x": tensor([1, 1, 1], 0, 4)}, bytes(4)), "1 to 2 dimensions, got 3"),
    "three-offsets": (
        file_of({"x": tensor([1], 0, 4) | {"data_offsets": [0, 4, 8]}}, bytes(4)),
        "two numbers",
    ),
    "other-size": (
        file_of({"x": tensor([2], 0, 4)}, bytes(4)),
        "model.x.data_offsets: expected 8 bytes, got 4",
    ),
    "backwards": (file_of({"x": tensor([1], 4, 0)}, bytes(4)), "expected 4 bytes, got -4"),
    "overlapping": (
        file_of({"x": tensor([2], 0, 8), "y": tensor([1], 4, 8)}, bytes(8)),
        "model.y.data_offsets: expected data from byte 8 on, got from 4",
    ),
    "hole": (
        file_of({"x": tensor([1], 0, 4), "y": tensor([1], 8, 12)}, bytes(12)),
        "model.y.data_offsets: expected data from byte 4 on, got from 8",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_not_as_the_format_has_it_is_refused_by_field(name: str) -> None:
    content, words = BAD_FILES[name]
    with pytest.raises(InvalidRequest) as caught:
        tensors(content)
    assert words in str(caught.value)


def test_whatever_byte_of_a_header_is_changed_is_read_or_refused() -> None:
    refused = 0
    for at in range(8 + int.from_bytes(SAVED[:8], "little")):
        for flipped in (1, 2, 128):
            content = bytearray(SAVED)
            content[at] ^= flipped
            try:
                tensors(bytes(content))
            except InvalidRequest:
                refused += 1
    assert refused > 1000


def changed(name: str, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> bytes:
    """The saved network with one tensor changed, written anew."""
    numbers = {one: values.astype(np.float32) for one, values in tensors(SAVED).items()}
    return saved({**numbers, name: change(numbers[name]).astype(np.float32)})


def with_number(value: float) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    def change(values: NDArray[np.float32]) -> NDArray[np.float32]:
        values[1, 2] = value
        return values

    return change


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (changed("2.weight", with_number(np.nan)), "model.2.weight: expected finite numbers, got 1 others"),
        (changed("2.weight", with_number(-np.inf)), "model.2.weight: expected finite numbers, got 1 others"),
        (
            changed("2.weight", lambda values: values[:, :7]),
            "model.2.weight.shape: expected [4, 8], got [4, 7]",
        ),
        (changed("4.bias", lambda values: values[None]), "model.4.bias.shape: expected [1], got [1, 1]"),
        (SAVED.replace(b'"4.bias"', b'"4.scal"'), "got 6 tensors, 1 of these missing"),
    ],
    ids=["nan", "infinite", "narrower", "more-dimensions", "another-name"],
)
def test_a_file_of_another_network_is_refused_by_field(content: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        network(content, Sequential.read(TORCH["layers"], "layers"))
    assert words in str(caught.value)


# The layers.


def test_layers_are_those_of_the_sequential_and_its_places() -> None:
    found = Sequential.read(["linear 3 8", "linear 8 2", "relu", "linear 2 1"], "layers")
    assert found.layers == (Layer(3, 8, False), Layer(8, 2, True), Layer(2, 1, False))
    assert (found.places, found.has_sigmoid) == ((0, 1, 3), False)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ("linear 3 1", "layers: expected a list of 1 to 8 layers"),
        ([], "layers: expected a list of 1 to 8 layers"),
        (["linear 1 1"] * 9, "layers: expected a list of 1 to 8 layers"),
        (["linear 1 1"] * 5, "layers: expected at most 4 linear layers, got 5"),
        (["relu", "linear 3 1"], "layers[0]: expected linear INPUTS OUTPUTS, got 'relu'"),
        (["sigmoid"], "layers[0]"),
        (["linear 3 1", "relu", "relu"], "layers[2]"),
        (["linear 3 1", "relu", "sigmoid"], "layers[2]"),
        (["linear 3 1", "sigmoid", "linear 1 1"], "layers[1]: expected linear INPUTS OUTPUTS, relu, or"),
        (["linear 3 1", "tanh"], "layers[1]"),
        (["linear 3 1", 7], "layers[1]"),
        (["linear 03 1"], "layers[0]"),
        (["linear 3 0"], "layers[0]"),
        (["linear 3 129"], "layers[0]: expected at most 128 units, got 3 and 129"),
        (["linear 3 4", "relu", "linear 5 1"], "layers[2]: expected 4 inputs, the outputs before, got 5"),
        (
            ["linear 128 120", "linear 120 120"],
            "layers: expected at most 20000 weights and biases, got 30000",
        ),
    ],
)
def test_layers_that_cannot_be_computed_are_refused_by_name(layers: object, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Sequential.read(layers, "layers")
    assert words in str(caught.value)


# The step.


class Played:
    """A run of the step over channels in memory: what became of each role."""

    def __init__(
        self,
        step: Step,
        kind: Sharing,
        rows: pa.Table = ROWS,
        content: bytes = SAVED,
        *,
        minimum: int = 0,
    ) -> None:
        self._minimum = minimum
        self.ends: dict[str, Outcome | Exception] = {}
        model = pa.table({CONTENT: pa.array([content[:300], content[300:]], pa.binary())})
        self._tables, self._step, self._component = {"client": rows, "model_owner": model}, step, KINDS[kind]
        self._roles = self._component.ranks(step)
        threads = [
            threading.Thread(target=self._play, args=(role, mesh), daemon=True)
            for role, mesh in zip(self._roles, mesh_of(len(self._roles), timeout_s=10), strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _play(self, role: str, mesh: Mesh) -> None:
        def read(name: str) -> Iterator[pa.RecordBatch]:
            yield from self._tables[role].select([name]).to_batches(max_chunksize=7)

        context = StepContext(
            step=self._step,
            role=role,
            ranks=self._roles,
            session=mesh.session,
            minimum_cohort=self._minimum if role == "model_owner" else 0,
            read=read,
            channel=lambda peer: mesh.channels[self._roles.index(peer)],
            before={},
            earlier={},
            released={},
            rng=SystemRandomness(),
            progress=lambda done, total: None,
            hand_over=nothing_lent(),
        )
        try:
            self.ends[role] = self._component.run(context)
        except (ExchangeError, MpcError, MissingValues) as error:
            self.ends[role] = error
            mesh.abort(error.code)


@pytest.fixture
def _clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "evaluate", ClearEngine())


@pytest.mark.parametrize("kind", Sharing)
def test_scores_are_torchs_own_and_stay_with_the_client(
    kind: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "evaluate", ClearEngine())
    ends = Played(spec_of(kind).step("score"), kind).ends
    client = ends.pop("client")
    assert isinstance(client, Outcome)
    result = json.loads(client.files["result.json"])
    assert result["facts"] == {"rows": 25, "link": "logistic"}
    found = np.array([float(score) for _, score in result["rows"]])
    assert np.abs(found - TORCH["scores"]).max() < 2e-6
    assert (client.local, client.release) == (b"", None)
    assert list(ends.values()) == [Outcome(local=b"")] * (kind.computing - 1)


@pytest.mark.usefixtures("_clear")
def test_without_a_sigmoid_the_scores_are_the_logits() -> None:
    step = spec_of(params={"layers": TORCH["layers"][:-1]}).step("score")
    client = Played(step, Sharing.ABY3).ends["client"]
    assert isinstance(client, Outcome)
    found = np.array([float(row[1]) for row in json.loads(client.files["result.json"])["rows"]])
    assert np.abs(found - TORCH["logits"]).max() < 2e-5
    assert np.ptp(found) > 5


@pytest.mark.parametrize(
    ("rows", "content", "params", "role", "error", "words"),
    [
        (ROWS[:4], SAVED, {}, "client", JobFailed, "expected 5 to 25 rows to score, got 4"),
        (ROWS, SAVED, {"max_rows": 24}, "model_owner", JobFailed, "expected 5 to 24 rows to score, got 25"),
        (ROWS, SAVED, {"bound": "1.5"}, "client", ValueOutOfRange, "expected features within 1.5"),
        (ROWS, SAVED[:-4], {}, "model_owner", InvalidRequest, "model: expected 292 bytes"),
        (ROWS, bytes(MAX_BYTES + 9), {}, "model_owner", InvalidRequest, "model: expected at most"),
        (
            ROWS,
            changed("0.weight", lambda values: values * np.float32(2**20)),
            {},
            "model_owner",
            ValueOutOfRange,
            "layer 1: expected sums below 4,194,304",
        ),
        (
            ROWS.set_column(0, "a", pa.array([None, *[0.5] * 24])),
            SAVED,
            {},
            "client",
            MissingValues,
            "a",
        ),
    ],
    ids=["few-rows", "many-rows", "beyond-bound", "cut-off", "oversized", "overflow", "missing"],
)
@pytest.mark.usefixtures("_clear")
def test_bad_input_ends_the_step_at_all(
    rows: pa.Table, content: bytes, params: dict[str, Any], role: str, error: type[Exception], words: str
) -> None:
    ends = Played(spec_of(params=params).step("score"), Sharing.ABY3, rows, content).ends
    assert not any(isinstance(end, Outcome) for end in ends.values())
    assert isinstance(ends[role], error)
    assert words in str(ends[role])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipients": [OWNER]}, "recipients: expected the client"),
        ({"recipients": []}, "recipients: expected the client"),
        (
            {"params": {"layers": ["linear 4 1"]}},
            "client.columns: expected 4 columns, the inputs of the first",
        ),
        ({"params": {"bound": "0"}}, "params.bound: expected more than 0"),
        ({"params": {"bound": "-1"}}, "params.bound"),
        ({"params": {"max_rows": 4}}, "params.max_rows: expected at least min_cohort, 5, got 4"),
        ({"params": {"min_cohort": 0}}, "params.min_cohort"),
        ({"params": {"layers": ["linear 3 1", "gelu"]}}, "params.layers[1]"),
    ],
    ids=["other-recipient", "nobody", "columns", "no-bound", "negative", "rows", "no-rows", "layers"],
)
def test_a_step_that_cannot_be_played_is_refused_when_it_is_submitted(
    change: dict[str, Any], words: str
) -> None:
    spec = spec_of(**change)
    with pytest.raises(InvalidRequest) as caught:
        ABY3.check(spec, spec.step("score"))
    assert words in str(caught.value)


def test_the_network_is_a_document_and_nothing_else() -> None:
    spec = spec_of()
    step = spec.step("score")
    (column,) = step.inputs["model_owner"].columns
    other = replace(step.inputs["model_owner"], columns=(replace(column, name="weights"),))
    with pytest.raises(InvalidRequest, match="expected content, of a document"):
        ABY3.check(spec, replace(step, inputs={**step.inputs, "model_owner": other}))


@pytest.mark.usefixtures("_clear")
def test_an_owners_own_minimum_of_rows_holds_too() -> None:
    ends = Played(spec_of().step("score"), Sharing.ABY3, minimum=26).ends
    assert isinstance(ends["model_owner"], JobFailed)
    assert "expected 26 to 25 rows" in str(ends["model_owner"])


def test_who_comes_to_see_what_of_which_column() -> None:
    for component, kind in ((ABY3, Sharing.ABY3), (CHEETAH, Sharing.CHEETAH)):
        seen = {
            (use.column, use.viewer, frozenset(use.after))
            for use in component.uses(spec_of(kind).step("score"))
        }
        rows = {(name, "", frozenset[Level]()) for name in "abc"}
        assert seen == {*rows, (CONTENT, CLIENT, frozenset({Level.AFTER_AGGREGATE}))}


@pytest.mark.parametrize("kind", Sharing)
def test_an_estimate_grows_with_rows_and_layers(kind: Sharing) -> None:
    component = KINDS[kind]
    component.check(spec_of(kind), spec_of(kind).step("score"))
    assert component.estimate is not None
    step = spec_of(kind, params={"max_rows": 2000}).step("score")
    small, large, beyond = (
        component.estimate(step, {"client": rows, "model_owner": 1}) for rows in (1000, 2000, 10**12)
    )
    assert beyond == large
    assert set(small) == set(component.roles)
    for role, one in small.items():
        assert one.sent_bytes < large[role].sent_bytes <= 2 * one.sent_bytes
        assert one.work_ns < large[role].work_ns
    total = [sum(getattr(one, name) for one in small.values()) for name in ("sent_bytes", "received_bytes")]
    assert total[0] == total[1]
