"""SecureBoost: gradient boosted trees over columns of several owners, of which one has the label.

The label holder has rank 0. It encrypts the gradients and hessians of the rows of a node, zeros for all other
rows, so no other owner sees which rows a node holds; owners send back sums by bin (`mpc.he.subset_sums`). The
messages are in `federated.boosting.messages`, the tree's own logic in `federated.boosting.growth`.

A run that a lost owner cut off goes on in a new session, with a new key, at the last tree that all owners had
reached. The rounded gradients of that tree are kept, so that the same sums, splits and sides are told again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.boosting import fixed_point, messages, objectives
from federated.boosting.binning import Binned
from federated.boosting.fixed_point import Quantised
from federated.boosting.growth import Growth, Integers, Masks, own_sums
from federated.boosting.resumption import Grown, own_splits, splits_as_arrays
from federated.boosting.settings import Settings, Sizes
from federated.boosting.trees import Best, OwnSplit, Split, Tree
from federated.checkpoints import Checkpoints
from mpc.errors import CohortTooSmall, InvalidInput, MalformedMessage
from mpc.he import bfv, subset_sums
from mpc.he.subset_sums import Blocks, SubsetHolder
from mpc.mesh import ConfirmedMesh
from mpc.randomness import Randomness
from mpc.secrecy import Unprintable
from mpc.transcript import ConfirmedChannel

__all__ = ["Ensemble", "OwnPart", "feature_owner", "label_holder"]

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, repr=False, eq=False)
class Ensemble(Unprintable):
    """What the label holder has after a run.

    Attributes:
        base: the margin before the first tree.
        trees: structure and leaves.
        own: its own splits, by record.
        margins: float64[rows], of the aligned rows trained on.
        losses: mean loss after each tree.
        sizes: of the run.
        asked: of each level in turn, the nodes whose sums were asked for; 0 where a tree ended early.
        won: of each level with such nodes, the splits of each owner.
    """

    base: float
    trees: tuple[Tree, ...]
    own: tuple[OwnSplit, ...]
    margins: Floats
    losses: tuple[float, ...]
    sizes: Sizes
    asked: tuple[int, ...]
    won: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, repr=False, eq=False)
class OwnPart(Unprintable):
    """What another owner has after a run: its own splits, by record."""

    own: tuple[OwnSplit, ...]


def label_holder(
    peers: ConfirmedMesh,
    settings: Settings,
    binned: Binned,
    label: Floats,
    rng: Randomness,
    *,
    least_rows: int = 1,
    progress: Progress = lambda done, total: None,
    checkpoints: Checkpoints | None = None,
    on_loss: Callable[[float], None] = lambda loss: None,
) -> Ensemble:
    """Play the owner of the label, rank 0.

    Args:
        peers: a run of `SPEC` with the other owners.
        settings: as agreed.
        binned: own columns.
        label: float64[rows], 0 and 1, or numbers.
        rng: own randomness.
        least_rows: with fewer rows this owner does not take part.
        progress: told after each tree.
        checkpoints: where each tree is kept before anything is sent of it, and the tree to begin at.
        on_loss: told the mean loss after each tree.

    Returns:
        Its part of the ensemble.

    Raises:
        InvalidInput: another rank, or a label of another length than the columns.
        ValueOutOfRange: gradients beyond the fixed-point range; nothing was encrypted of them.
        CohortTooSmall: too few rows.
        InputsDisagree: an owner has other rows, trees or depth.
        ProtocolAbort: a message is not as the protocol has it, or an owner aborted.

    Security: semi-honest; see `SPEC`. Leaks: see `SPEC`. Cost: `federated.boosting.costs`.
    Source: Cheng et al. 2019, algorithms 1 and 2.
    """
    _check_place(peers, is_holder=True)
    if len(label) != binned.codes.shape[1]:
        raise InvalidInput(f"label: expected {binned.codes.shape[1]} values, got {len(label)}")
    held = Checkpoints() if checkpoints is None else checkpoints
    begun = held.begun
    base = objectives.base_margin(label, settings.objective)
    grown = Grown(np.full(len(label), base)) if begun is None else Grown.of(begun)
    run = _LabelHolder(peers, settings, binned, least_rows, grown)
    for number in range(held.begins_at or 1, settings.trees + 1):
        g, h = objectives.gradients(grown.margins, label, settings.objective)
        kept = held.get(number)
        if kept is None:
            numbers = fixed_point.quantise(g, h, rng)
            held.keep(number, grown.as_arrays(numbers))
        else:
            numbers = Grown.numbers_of(kept)
        tree, added = run.grow(numbers, g, h)
        grown.margins = grown.margins + added
        grown.trees.append(tree)
        grown.losses.append(objectives.loss(grown.margins, label, settings.objective))
        on_loss(grown.losses[-1])
        progress(number, settings.trees)
    peers.confirm()
    return Ensemble(
        base,
        tuple(grown.trees),
        tuple(grown.own),
        grown.margins,
        tuple(grown.losses),
        run.sizes,
        tuple(grown.asked),
        tuple(grown.won),
    )


def feature_owner(
    peers: ConfirmedMesh,
    settings: Settings,
    binned: Binned,
    rng: Randomness,
    *,
    least_rows: int = 1,
    progress: Progress = lambda done, total: None,
    checkpoints: Checkpoints | None = None,
) -> OwnPart:
    """Play an owner without the label, any rank but 0.

    Args, Security, Leaks, Cost, Source: as `label_holder`.

    Returns:
        Its own splits.

    Raises:
        InvalidInput: every column is constant; and as `label_holder`.
    """
    _check_place(peers, is_holder=False)
    rows, counts, peer = binned.codes.shape[1], binned.counts, peers[0]
    if not sum(counts):
        raise InvalidInput(f"columns: expected one with different values, all {len(counts)} are constant")
    peer.send("terms", messages.encode_terms(rows, settings, counts))
    messages.decode_terms(peer.receive("terms"), rows, settings)
    _check_rows(rows, least_rows)
    holder = SubsetHolder(peer.receive("key"), binned.codes, counts, rng)
    held = Checkpoints() if checkpoints is None else checkpoints
    splits = own_splits(held.begun)
    for tree in range(held.begins_at or 1, settings.trees + 1):
        held.keep(tree, splits_as_arrays(splits))
        for level in range(settings.depth):
            most = settings.most_asked(level)
            nodes, blocks = messages.decode_nodes(peer.receive("nodes"), rows, most)
            if blocks is None:
                break
            sums = [_summed(peer, holder, blocks) for _ in range(blocks.turns(nodes))]
            messages.send_bytes(peer, "sums", b"".join(sums))
            won = messages.decode_splits(peer.receive("splits"), counts, 1 << level)
            splits += [OwnSplit(column, float(binned.cuts[column][cut])) for column, cut in won]
            sides = [binned.codes[column] <= cut for column, cut in won]
            peer.send("sides", messages.encode_sides(np.array(sides, np.bool_).reshape(-1, rows)))
            # While the label holder encrypts; about as many as this level took.
            holder.prepare(holder.products(blocks))
        progress(tree, settings.trees)
    peers.confirm()
    return OwnPart(tuple(splits))


def _check_place(peers: ConfirmedMesh, *, is_holder: bool) -> None:
    if is_holder != (peers.rank == 0):
        raise InvalidInput(f"expected the label holder, and it alone, at rank 0, got rank {peers.rank}")


def _check_rows(rows: int, least: int) -> None:
    if rows < least:
        raise CohortTooSmall(least, 1)


def _summed(peer: ConfirmedChannel, holder: SubsetHolder, blocks: Blocks) -> bytes:
    """The sums over nodes that lie side by side, as they are released."""
    total = holder.start(blocks)
    for first in range(0, blocks.count, messages.CHUNK):
        count = min(messages.CHUNK, blocks.count - first)
        payload = peer.receive("blocks")
        if len(payload) != count * bfv.CIPHERTEXT_BYTES:
            raise MalformedMessage(f"blocks: expected {count} ciphertexts, got {len(payload)} bytes")
        starts = range(0, len(payload), bfv.CIPHERTEXT_BYTES)
        ciphertexts = [payload[start : start + bfv.CIPHERTEXT_BYTES] for start in starts]
        holder.add(total, blocks, first, ciphertexts)
    return holder.release(total, blocks)


class _LabelHolder:
    """What the label holder keeps during a run, and what it asks the others."""

    def __init__(
        self, peers: ConfirmedMesh, settings: Settings, binned: Binned, least_rows: int, grown: Grown
    ) -> None:
        rows = binned.codes.shape[1]
        self._peers, self._settings, self._binned, self._grown = peers, settings, binned, grown
        for peer in peers.peers:
            peers[peer].send("terms", messages.encode_terms(rows, settings, ()))
        stated = [messages.decode_terms(peers[peer].receive("terms"), rows, settings) for peer in peers.peers]
        if not all(map(sum, stated)):
            raise MalformedMessage("terms: expected cuts of every owner, one states none")
        _check_rows(rows, least_rows)
        self.sizes = Sizes(rows, tuple(stated))
        self._counts = (binned.counts, *stated)
        self._key = bfv.SecretKey()
        peers.broadcast("key", self._key.public())
        self._records = [sum(won) for won in zip([0] * peers.size, *grown.won, strict=True)]

    def grow(self, numbers: Quantised, g: Floats, h: Floats) -> tuple[Tree, Floats]:
        """Grow one tree: the tree, and what it adds to each margin."""
        packed = numbers.packed()
        counts = [count for own in self._counts for count in own]

        def ask_sums(nodes: Masks) -> list[tuple[Integers, Integers]]:
            self._grown.asked.append(len(nodes))
            if not nodes:
                self._peers.broadcast("nodes", messages.encode_nodes(0, None))
                return []
            blocks = self.sizes.blocks(len(nodes))
            self._peers.broadcast("nodes", messages.encode_nodes(len(nodes), blocks))
            for first in range(0, len(nodes), blocks.vectors):
                self._send(packed, np.stack(nodes[first : first + blocks.vectors]), blocks)
            parts = [[own_sums(self._binned, numbers, rows) for rows in nodes]]
            parts += [self._opened(peer, len(nodes), blocks) for peer in self._peers.peers]
            columns = zip(*parts, strict=True)
            return [
                (np.concatenate([g for g, _ in one]), np.concatenate([h for _, h in one])) for one in columns
            ]

        return Growth(self._settings, counts, numbers, g, h).grow(ask_sums, self._sides)

    def _send(self, packed: Integers, nodes: NDArray[np.bool_], blocks: Blocks) -> None:
        """Send what the rows of nodes side by side have, encrypted, with zeros for all other rows."""
        for first in range(0, blocks.count, messages.CHUNK):
            rows = [
                blocks.rows_of(number) for number in range(first, min(first + messages.CHUNK, blocks.count))
            ]
            encrypted = [
                subset_sums.encrypt(self._key, blocks, np.where(nodes[:, one], packed[one], 0))
                for one in rows
            ]
            self._peers.broadcast("blocks", b"".join(encrypted))

    def _opened(self, peer: int, nodes: int, blocks: Blocks) -> list[tuple[Integers, Integers]]:
        """The sums over each node in the bins of one owner."""
        cuts, turns = sum(self._counts[peer]), blocks.turns(nodes)
        size = blocks.products(cuts) * blocks.product_bytes
        payload = messages.receive_bytes(self._peers[peer], "sums", turns * size)
        opened = [
            subset_sums.decrypt(self._key, blocks, payload[turn * size : (turn + 1) * size], cuts)
            for turn in range(turns)
        ]
        return [fixed_point.unpack(one) for one in np.concatenate(opened)[:nodes]]

    def _sides(self, chosen: Mapping[int, Best]) -> dict[int, tuple[Split, NDArray[np.bool_]]]:
        """Give each owner the splits it won and learn which rows go left."""
        won: list[list[tuple[int, int]]] = [[] for _ in self._counts]
        splits = {}
        for node, best in chosen.items():
            owner, column = self._owner_of(best.column)
            splits[node] = Split(owner, self._records[owner], best.gain)
            self._records[owner] += 1
            won[owner].append((column, best.cut))
        for peer in self._peers.peers:
            self._peers[peer].send("splits", messages.encode_splits(won[peer]))
        binned, sides = self._binned, []
        for column, cut in won[0]:
            self._grown.own.append(OwnSplit(column, float(binned.cuts[column][cut])))
            sides.append(binned.codes[column] <= cut)
        lines = [iter(sides)]
        for peer in self._peers.peers:
            told = messages.decode_sides(self._peers[peer].receive("sides"), len(won[peer]), self.sizes.rows)
            lines.append(iter(told))
        self._grown.won.append(tuple(map(len, won)))
        return {node: (split, next(lines[split.owner])) for node, split in splits.items()}

    def _owner_of(self, column: int) -> tuple[int, int]:
        """Whose column it is among all columns, and its number there."""
        for owner, counts in enumerate(self._counts):
            if column < len(counts):
                return owner, column
            column -= len(counts)
        raise AssertionError("no such column")
