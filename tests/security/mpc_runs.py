"""One small run of every protocol of the package, for the suites that ask the same of all of them.

A `Run` says how each rank plays it, with two sets of secret inputs whose public facts are the same: what a
party sees of the one must look as what it sees of the other. It also says what the run costs by the
protocol's own formulas, where its messages hold elements of a group, and which of them are uniform words.

Oblivious transfer and the oblivious function have no descriptor of their own: they are in the messages of
``stats/group-sums`` and of ``psi/unbalanced`` and ``pir/keyword``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from mpc import replicated
from mpc.aggregation import pairwise, secagg
from mpc.channel import Channel
from mpc.circuit_psi import protocol as circuit_psi
from mpc.engines import networks, rr22, shares
from mpc.engines.networks import Layer, Network, Task
from mpc.engines.programs import interpret
from mpc.engines.shares import Program, Sharing
from mpc.he import paillier, scoring, sums
from mpc.he.ckks import Link, Model
from mpc.mesh import Mesh
from mpc.oprf import rfc9497
from mpc.over_threshold import protocol as over_threshold
from mpc.over_threshold.protocol import Terms
from mpc.pir import build, keyword
from mpc.pir.client import ListClient
from mpc.pir.server import ListServer
from mpc.psi import cardinality, ecdh, unbalanced
from mpc.psi.masking import Receivers
from mpc.psi.own_set import Duplicates
from mpc.psi_many import protocol as psi_many
from mpc.randomness import Randomness, SystemRandomness
from mpc.replicated import costs
from mpc.secrecy import SecretBytes, Unprintable
from mpc.spec import ProtocolSpec
from mpc.stats import group_sums, joint
from mpc.testing import DeterministicRandomness

_generate = paillier.generate  # tests put `paillier_key` in its place

SESSION: Final = b"a run of every protocol"


@dataclass(frozen=True)
class Place:
    """What one party of a run has: its mesh, the secrets of all (of which it takes its own), randomness."""

    mesh: Mesh
    secrets: Any
    rng: Randomness
    timeout_s: float

    @property
    def rank(self) -> int:
        return self.mesh.rank

    @property
    def own(self) -> Any:
        return self.secrets[self.rank]

    @property
    def channel(self) -> Channel:
        """To the one other party, or to rank 0."""
        return self.mesh.channels[1 if self.rank == 0 else 0]


Bytes = Callable[[int], int]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a protocol.

    Attributes:
        spec: the protocol.
        parties: how many.
        play: one party, to its output.
        secrets: two sets of secret inputs of the same public facts.
        rounds: by rank, the receiving phases over all channels, by the protocol's formula; None where an
            engine makes them.
        sent: by rank, the bytes, by the protocol's formula.
        largest: by rank, the most bytes, where compression makes them fewer.
        elements: by label, where elements of ristretto255 stand in a message.
        curve: by label, where points of Curve25519 stand.
        uniform: by label, from which byte on a message is uniform whatever the secrets are.
        drop_outs: whether the first party goes on without others that fail.
        sizes_vary: how much sizes may differ between secrets, where an encryption compresses ciphertexts.
        by_chance: messages whose size follows from where hashes put items.
        last: the message whose loss its receiver alone can notice.
    """

    spec: ProtocolSpec
    parties: int
    play: Callable[[Place], object]
    secrets: tuple[Any, Any]
    rounds: Bytes | None = None
    sent: Bytes | None = None
    largest: Bytes | None = None
    elements: Mapping[str, Sequence[int]] = field(default_factory=dict)
    curve: Mapping[str, Sequence[int]] = field(default_factory=dict)
    uniform: Mapping[str, int] = field(default_factory=dict)
    drop_outs: bool = False
    sizes_vary: float = 0.0
    by_chance: frozenset[str] = frozenset()
    last: str = "confirm"


def shown(output: object) -> object:
    """An output as plain values that compare, whatever it is made of."""
    if isinstance(output, paillier.SecretKey | ListClient):
        return type(output).__name__
    if isinstance(output, np.ndarray):
        return output.tolist()
    if isinstance(output, list | tuple):
        return [shown(one) for one in output]
    if isinstance(output, Unprintable) or hasattr(output, "__dataclass_fields__"):
        return {name: shown(value) for name, value in vars(output).items()}
    return output


def named(*names: str) -> list[bytes]:
    return [name.encode() for name in names]


# Two sets.

SETS: Final = (
    ([b"%d" % row for row in range(6)], [b"%d" % row for row in range(3, 8)]),
    ([b"l%d" % row for row in range(6)], [b"r%d" % row for row in range(5)]),
)
GROUPED: Final = (
    (named("a", "b", "b", "c"), named("b", "c", "c", "x")),
    (named("p", "q", "r", "r"), named("r", "q", "y", "q")),
)


def two_sets(rank: int) -> tuple[int, int]:
    own, other = SETS[0]
    return (len(own), len(other)) if rank == 0 else (len(other), len(own))


def _ecdh(place: Place, **options: Any) -> object:
    return ecdh.run_batches(place.channel, [place.own], place.rng, **options)


POINTS: Final = {"masked": (32, 64)}


def _intersections() -> dict[str, Run]:
    return {
        "psi/ecdh": Run(
            spec=ecdh.SPEC,
            parties=2,
            play=_ecdh,
            secrets=SETS,
            rounds=lambda rank: ecdh.rounds(*two_sets(rank)),
            sent=lambda rank: ecdh.bytes_sent(*two_sets(rank)),
            elements=POINTS,
            uniform={"double-masked": 32},
        ),
        "psi/ecdh for one": Run(
            spec=ecdh.SPEC,
            parties=2,
            play=partial(_ecdh, receivers=Receivers.RIGHT),
            secrets=SETS,
            rounds=lambda rank: ecdh.rounds(*two_sets(rank)),
            sent=lambda rank: ecdh.bytes_sent(*two_sets(rank), tells=rank == 0),
            elements=POINTS,
        ),
        "psi/ecdh of groups": Run(
            spec=ecdh.SPEC,
            parties=2,
            play=partial(_ecdh, duplicates=Duplicates.GROUPS),
            secrets=GROUPED,
            rounds=lambda rank: ecdh.rounds(3, 3, 2),
            sent=lambda rank: ecdh.bytes_sent(3, 3, shared_in_groups=2),
            elements=POINTS,
        ),
        "psi/cardinality": Run(
            spec=cardinality.SPEC,
            parties=2,
            play=lambda place: cardinality.run(place.channel, [place.own], place.rng),
            secrets=SETS,
            rounds=lambda rank: cardinality.rounds(*two_sets(rank)),
            sent=lambda rank: cardinality.bytes_sent(*two_sets(rank)),
            elements=POINTS,
        ),
    }


# A large set and few items.

SERVED: Final = [b"%d" % row for row in range(30)]
FEW: Final = ((None, named("3", "29", "4")), (None, named("x", "yy", "zzz")))


@cache
def server_key(epoch: int = 1) -> rfc9497.KeyPair:
    return rfc9497.derive_key(SecretBytes(b"\7" * 32), b"list, epoch %d" % epoch)


@cache
def tags() -> unbalanced.KeptTags:
    return unbalanced.prepare(server_key(), [SERVED])


def _unbalanced(place: Place, *, keeps: bool) -> object:
    if place.rank == 0:
        return unbalanced.serve(place.channel, server_key(), tags(), place.rng)
    return unbalanced.ask(place.channel, place.own, tags() if keeps else None, place.rng)


def _lists() -> dict[str, Run]:
    def run(*, keeps: bool) -> Run:
        loaded = 0 if keeps else len(SERVED)
        return Run(
            spec=unbalanced.SPEC,
            parties=2,
            play=partial(_unbalanced, keeps=keeps),
            secrets=FEW,
            rounds=lambda rank: unbalanced.rounds(rank, 3, loaded),
            sent=lambda rank: unbalanced.bytes_sent(rank, 3, loaded),
            elements={"blinded": (32, 96), "evaluated": (32, 96)},
        )

    return {
        "psi/unbalanced": run(keeps=False),
        "psi/unbalanced with kept tags": run(keeps=True),
        "pir/keyword": Run(
            spec=keyword.SPEC,
            parties=2,
            play=_lookup,
            secrets=((KEYS[:2], None), (named("nobody", "none"), None)),
            rounds=lambda rank: keyword.rounds(2),
            sent=lambda rank: keyword.bytes_sent(keyword.SPEC.roles[rank], 2, listed()[0].manifest.shape),
            elements={"blinded": (24 + 32 + 32, 24 + 32 + 64), "evaluated": (32, 64)},
            uniform={"query": 24 + 32 + 32},
        ),
    }


KEYS: Final = [b"110101%012d" % number for number in range(40)]


@cache
def listed() -> tuple[ListClient, ListServer]:
    """A list of 40 records: its client and its server."""
    key = rfc9497.derive_key(SecretBytes(b"\5" * 32), b"grey list 1")
    records = np.arange(16 * len(KEYS), dtype=np.int64).astype(np.uint8).reshape(-1, 16)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "1"
        rng = DeterministicRandomness(bytes(16))
        options: dict[str, Any] = {
            "list_id": "grey",
            "epoch": 1,
            "planned": 40,
            "record_bytes": 16,
            "rng": rng,
        }
        build.build(directory, [(KEYS, records)], key, **options)
        return ListClient.load(directory), ListServer(directory, key)


def _lookup(place: Place) -> object:
    client, server = listed()
    if place.rank == 0:
        return keyword.client(place.channel, client, place.own, place.rng)
    return keyword.server(place.channel, server, place.rng)


# Many sets.

MANY: Final = (
    (named("a", "b", "c", "d"), named("b", "c", "x"), named("c", "b", "y", "a", "z")),
    (named("p", "q", "r", "s"), named("x", "s", "p"), named("y", "p", "z", "s", "w")),
)
APART: Final = (MANY[0], (named("p", "q", "r", "s"), named("x", "t", "v"), named("y", "i", "z", "j", "w")))
TERMS: Final = Terms(5, 3)


def _many(place: Place, *, everyone: bool) -> object:
    play = psi_many.leader if place.rank == 0 else psi_many.party
    return play(place.mesh, place.own, place.rng, everyone=everyone)


def _over_threshold(place: Place) -> object:
    if place.rank == 3:
        return over_threshold.aggregator(place.mesh, TERMS)
    return over_threshold.party(place.mesh, place.own, TERMS, place.rng)


ROWS: Final = (
    np.array([[1, 10], [-2, 20], [3, 30], [4, -40]]),
    np.array([[100], [-200], [2**40]]),
)
SHARED: Final = (
    ((named("a", "b", "c", "d"), ROWS[0]), (named("b", "c", "x"), ROWS[1]), None),
    ((named("p", "q", "r", "s"), 7 * ROWS[0]), (named("x", "y", "z"), -ROWS[1]), None),
)
SIZES: Final = circuit_psi.Size(4, 2, 0), circuit_psi.Size(3, 1, 0)


def _shared(place: Place) -> object:
    if place.own is None:
        return circuit_psi.helper(place.mesh)
    items, columns = place.own
    return circuit_psi.owner(place.mesh, items, columns, place.rng)


def _sets_of_many() -> dict[str, Run]:
    def many(*, everyone: bool) -> Run:
        sizes = [len(items) for items in MANY[0]]
        return Run(
            spec=psi_many.SPEC,
            last="agreed",
            parties=3,
            play=partial(_many, everyone=everyone),
            secrets=MANY if everyone else APART,
            rounds=lambda rank: psi_many.rounds(rank, 3, sizes[0], everyone=everyone),
            sent=lambda rank: psi_many.bytes_sent(rank, 3, sizes, 2, everyone=everyone),
            elements={"blinded": (32, 64), "evaluated": (32, 64)},
        )

    return {
        "psi/many": many(everyone=True),
        "psi/many for the leader": many(everyone=False),
        "psi/over-threshold": Run(
            spec=over_threshold.SPEC,
            last="agreed",
            parties=4,
            play=_over_threshold,
            secrets=((*MANY[0], None), (*MANY[1], None)),
            rounds=lambda rank: over_threshold.rounds(rank, 3),
            sent=None,  # follows from the size of the hits, as the unit tests have it
            by_chance=frozenset({"hits"}),
        ),
        "psi/shared": Run(
            spec=circuit_psi.SPEC,
            last="agreed",
            parties=3,
            play=_shared,
            secrets=SHARED,
            rounds=lambda rank: circuit_psi.rounds(rank, *SIZES),
            sent=lambda rank: circuit_psi.bytes_sent(rank, *SIZES),
            uniform={"key": 0, "mask-seed": 0, "order-seed": 0, "tags": 24, "translation": 24, "masked": 24},
        ),
    }


# Statistics and secret columns.

GROUPS: Final = np.array([0, 1, 0, 1, 1, 0]), np.array([1, 0, 0, 1, 0, 1])
MEASURES: Final = np.arange(12).reshape(6, 2), np.full((6, 2), -(2**59))
PICKS: Final = (joint.Pick(0, 0, 15, 500, 1000),)
HISTORIES: Final = ([[1, 5, 9], [2, 2]], [[3], [7, 8, 15]]), ([[0, 0, 1], [15, 15]], [[0], [15, 15, 15]])


def _group_sums(place: Place) -> object:
    options: dict[str, Any] = {"min_cohort": 2, "rng": place.rng}
    if place.rank == 0:
        return group_sums.measure_holder(place.channel, place.own, **options)
    return group_sums.group_holder(place.channel, place.own, 2, **options)


def _part(cells: list[list[int]]) -> joint.Part:
    counts = np.array([len(values) for values in cells])
    starts = np.concatenate([[0], np.cumsum(counts)])
    figures = [sum(values) for values in cells]
    return joint.Part(
        counts, figures, np.zeros(2, np.bool_), (np.concatenate([np.array(one) for one in cells]),), (starts,)
    )


def _joint(place: Place) -> object:
    owners = len(place.secrets)
    part = _part(place.own) if place.rank < owners else None
    query = joint.Query(owners, 2, 1, PICKS)
    return joint.run(place.mesh, query, part, min_cohort=3, rng=place.rng)


COLUMNS: Final = (
    (np.arange(8), None, None, np.array([5, -7, 5, 0, 2**40, -1, 3, 3])),
    (np.full(8, -(2**60)), None, None, np.full(8, 2**61)),
)


def _replicated(place: Place) -> object:
    """Owners inside and outside, one that states public numbers: a product, a comparison, a sort."""
    with replicated.run(place.mesh, replicated.SPEC, place.rng) as rt:
        rt.state((8,) if rt.rank == 0 else None, 1)
        x, y = (rt.share(owner, place.own if rt.rank == owner else None, 8) for owner in (0, 3))
        least = rt.to_arithmetic(rt.less(x, y))
        (key,), (value,) = rt.sort([least], [rt.mul(least, y)], [2])
        return [rt.open(rt.add(key, value), [0, 3])]


def _replicated_cost() -> costs.Cost:
    sign, arithmetic = costs.sign(8), costs.to_arithmetic(8)
    inputs = costs.shared(0, 8) + costs.shared(3, 8)
    order = costs.order_of(8, [2]) + costs.reorder(8, 2)
    opened = costs.opened(8, (0, 3))
    return costs.run(4) + inputs + sign + arithmetic + costs.product(8) + order + opened


def _replicated_sent(rank: int) -> int:
    cost = _replicated_cost()
    stated = costs.stated(4, 1).sent[0] if rank == 0 else 0
    return stated + (cost.sent[rank] if rank < 3 else cost.outside)


def _statistics() -> dict[str, Run]:
    def many(owners: int) -> Run:
        histories = tuple(tuple(one[number % 2] for number in range(owners)) for one in HISTORIES)
        query = joint.Query(owners, 2, 1, PICKS)
        return Run(
            spec=joint.SPEC,
            last="agreed",
            parties=max(owners, 3),
            play=_joint,
            secrets=histories,  # type: ignore[arg-type]
            sent=lambda rank: joint.bytes_sent(rank, query, 2),
            curve={pairwise.MESSAGE: (24,)},
            uniform={"keys": 0, "masked": 0, "planes": 0},
        )

    return {
        "stats/group-sums": Run(
            spec=group_sums.SPEC,
            parties=2,
            play=_group_sums,
            secrets=tuple(zip(MEASURES, GROUPS, strict=True)),  # type: ignore[arg-type]
            rounds=lambda rank: group_sums.rounds(rank, 6, 2, 2),
            sent=lambda rank: group_sums.bytes_sent(rank, 6, 2, 2),
            elements={"base-offer": (24,), "base-choices": (32, 32 + 127 * 32)},
            uniform={"corrections": 32},
        ),
        "stats/joint of two": many(2),
        "stats/joint of four": many(4),
        "replicated/three-party": Run(
            spec=replicated.SPEC,
            last="agreed",
            parties=4,
            play=_replicated,
            secrets=COLUMNS,
            sent=_replicated_sent,
            uniform={"keys": 0, "input": 0, "planes": 0, "product": 0, "shuffle": 0},
        ),
    }


# Encryption and aggregation.

VECTORS: Final = (
    ([5, -7, 2**62], [1, 2, -(2**63)], None),
    ([0, 0, 0], [2**63 - 1, 2**63 - 1, 2**63 - 1], None),
)
FEATURES: Final = np.linspace(-2, 2, 15).reshape(5, 3), np.zeros((5, 3))
MODELS: Final = Model(np.array([0.5, 0.0, -1.25]), 0.125), Model(np.array([0.0, 0.0, 0.0]), 0.0)
OWNERS: Final = 3
WORDS: Final = 5
THRESHOLD: Final = 2


@cache
def paillier_key(number: int) -> paillier.SecretKey:
    """Making one takes a second."""
    return _generate(SystemRandomness())


def _sums(place: Place) -> object:
    if place.own is None:
        return sums.reader(place.mesh, place.rng)
    return sums.owner(place.mesh, np.array(place.own, dtype=np.int64), place.rng)


def _scoring(place: Place) -> object:
    options: dict[str, Any] = {"link": Link.LINEAR, "bound": 2.0}
    if place.rank == 0:
        return scoring.client(place.channel, place.own, decimals=3, **options)
    return scoring.model_owner(place.channel, place.own, **options)


def vector(owner: int, secret: int) -> Any:
    """uint64[5] of an owner."""
    return (
        np.arange(WORDS, dtype=np.uint64) * np.uint64(owner)
        if secret == 0
        else np.full(WORDS, 2**64 - owner, dtype=np.uint64)
    )


def _secagg(place: Place) -> object:
    if place.rank == 0:
        patience_s = place.timeout_s / 4
        return secagg.aggregator(
            place.mesh.channels, WORDS, threshold=THRESHOLD, session=SESSION, patience_s=patience_s
        )
    return secagg.owner(
        place.channel,
        place.own,
        number=place.rank,
        owners=OWNERS,
        threshold=THRESHOLD,
        session=SESSION,
        rng=place.rng,
    )


def _encrypted() -> dict[str, Run]:
    return {
        "aggregation/secagg": Run(
            spec=secagg.SPEC,
            parties=OWNERS + 1,
            play=_secagg,
            secrets=tuple(  # type: ignore[arg-type]
                (None, *(vector(owner, secret) for owner in range(1, OWNERS + 1))) for secret in range(2)
            ),
            rounds=lambda rank: secagg.rounds("owner") if rank else OWNERS * secagg.rounds("aggregator"),
            sent=lambda rank: (
                secagg.bytes_sent("owner", OWNERS, WORDS)
                if rank
                else OWNERS * secagg.bytes_sent("aggregator", OWNERS, WORDS)
            ),
            curve={"keys": (32, 64), "all-keys": (24 + 8 * OWNERS + 32, 24 + 8 * OWNERS + 64)},
            uniform={"shares": 32, "masked": 24},
            drop_outs=True,
        ),
        "he/sums": Run(
            spec=sums.SPEC,
            last="agreed",
            parties=3,
            play=_sums,
            secrets=VECTORS,
            rounds=lambda rank: sums.rounds(rank, 2),
            sent=lambda rank: sums.bytes_sent(rank, 2, 3),
        ),
        "he/scoring": Run(
            spec=scoring.SPEC,
            parties=2,
            play=_scoring,
            secrets=tuple(zip(FEATURES, MODELS, strict=True)),  # type: ignore[arg-type]
            rounds=lambda rank: scoring.rounds(5, Link.LINEAR),
            largest=lambda rank: scoring.largest_sent(rank, 5, 3, Link.LINEAR),
            sizes_vary=0.002,
        ),
    }


# Engines.


def program() -> Program:
    """Linear, so that shares may be computed on one by one."""
    written = Program()
    first, second = written.input(0, 4), written.input(1, 4)
    written.step("sum", written.step("sub", written.step("scale", first, number=3), second))
    return written


@contextmanager
def linear_engine(folder: Path, task: Mapping[str, Any], *others: Any, **options: Any) -> Iterator[Any]:
    """Stands for SPU: plays a linear program on this party's words, as an engine that sends nothing can."""
    width = 2 if task["sharing"] == "aby3" else 1
    inputs = [
        np.fromfile(folder / f"input-{number}.bin", dtype="<i8").reshape(*shape, width)
        for number, shape in enumerate(task["inputs"])
    ]
    parts = [interpret(np, task["steps"], [one[..., part] for one in inputs]) for part in range(width)]
    np.stack([np.asarray(part) for part in parts], axis=-1).tofile(folder / "output.bin")
    yield {"form": f"{task['sharing']}.AShr<FM64>"}


def _program(place: Place, *, kind: Sharing) -> object:
    own = [] if place.own is None else [np.array(place.own, dtype=np.int64)]
    with tempfile.TemporaryDirectory() as base:
        return shares.evaluate(place.mesh, program(), own, kind, Path(base), place.rng)


LAYERS: Final = (Layer(3, 2, True), Layer(2, 1, False))


def _network(seed: int) -> Network:
    drawn = np.random.default_rng(seed)
    return Network(
        tuple(drawn.normal(size=(one.outputs, one.inputs)) for one in LAYERS),
        tuple(drawn.normal(size=one.outputs) for one in LAYERS),
    )


def _inference(place: Place, *, kind: Sharing) -> object:
    """What `linear_engine` makes of a network's program is no score, but a message like any."""
    task = Task(kind, LAYERS, 4, 1.0)
    with tempfile.TemporaryDirectory() as base:
        return networks.score(place.mesh, task, place.own, Path(base), place.rng)


def _rr22(place: Place) -> object:
    with tempfile.TemporaryDirectory() as base:
        return rr22.run(place.channel, pa.array(place.own, pa.string()), Path(base))


def _engines() -> dict[str, Run]:
    entered = ([1, 2, 3, 4], [5, 6, 7, -8]), ([2**40, 0, 0, 0], [0, 0, 0, 0])

    def computed(kind: Sharing) -> Run:
        more = [None] * (kind.computing - 2)
        return Run(
            spec=kind.spec,
            last="agreed",
            parties=kind.computing,
            play=partial(_program, kind=kind),
            secrets=tuple((*one, *more) for one in entered),  # type: ignore[arg-type]
        )

    def scored(kind: Sharing) -> Run:
        more = [None] * (kind.computing - 2)
        return Run(
            spec=networks.ABY3 if kind is Sharing.ABY3 else networks.CHEETAH,
            last="agreed",
            parties=kind.computing,
            play=partial(_inference, kind=kind),
            secrets=(
                (np.full((4, 3), 0.5), _network(1), *more),
                (np.full((4, 3), -1.0), _network(2), *more),
            ),
            uniform={"scores": 8},
        )

    return {
        "shares/aby3": computed(Sharing.ABY3),
        "shares/cheetah": computed(Sharing.CHEETAH),
        "inference/aby3": scored(Sharing.ABY3),
        "inference/cheetah": scored(Sharing.CHEETAH),
        "psi/rr22": Run(
            spec=rr22.SPEC,
            parties=2,
            play=_rr22,
            secrets=((["a", "b", "c"], ["b", "c", "d"]), (["p", "q", "r"], ["x", "y", "z"])),
        ),
    }


RUNS: Final[Mapping[str, Run]] = {
    **_intersections(),
    **_lists(),
    **_sets_of_many(),
    **_statistics(),
    **_encrypted(),
    **_engines(),
}
