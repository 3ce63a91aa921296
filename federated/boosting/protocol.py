"""SecureBoost: gradient boosted trees over columns of several owners, of which one has the label.

The label holder has rank 0. It encrypts the gradients and hessians of the rows of a node, zeros for all other
rows, so no other owner sees which rows a node holds; owners send back sums by bin (`mpc.he.subset_sums`). The
messages are in `federated.boosting.messages`, the tree's own logic in `federated.boosting.growth`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.boosting import fixed_point, messages, objectives
from federated.boosting.binning import Binned
from federated.boosting.growth import Growth, Integers, Node, Rows, Sums, grow, own_sums
from federated.boosting.sampling import drawn_weights
from federated.boosting.settings import Settings, Sizes
from federated.boosting.stopping import kept_of
from federated.boosting.trees import Best, OwnSplit, Split, Tree
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
        base: the margins before the first tree, one or one for each class.
        trees: structure and leaves of those that are kept, by round, and in a round by class.
        own: its own splits in these, by record.
        margins: float64[classes or 1, rows], of all aligned rows, those held out last.
        losses: mean loss on the rows trained on after each round that was grown.
        held_out_losses: that on the rows held out; none where none is.
        sizes: of the run.
        asked: of each level in turn, the nodes whose sums were asked for; 0 where a round ended early.
        won: of each level with such nodes, the splits of each owner.
    """

    base: tuple[float, ...]
    trees: tuple[Tree, ...]
    own: tuple[OwnSplit, ...]
    margins: Floats
    losses: tuple[float, ...]
    held_out_losses: tuple[float, ...]
    sizes: Sizes
    asked: tuple[int, ...]
    won: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, repr=False, eq=False)
class OwnPart(Unprintable):
    """What another owner has after a run: its own splits, by record, and how many rounds are kept."""

    own: tuple[OwnSplit, ...]
    rounds: int


def label_holder(
    peers: ConfirmedMesh,
    settings: Settings,
    binned: Binned,
    label: Floats,
    rng: Randomness,
    *,
    held_out: int = 0,
    least_rows: int = 1,
    progress: Progress = lambda done, total: None,
) -> Ensemble:
    """Play the owner of the label, rank 0.

    Args:
        peers: a run of `SPEC` with the other owners.
        settings: as agreed.
        binned: own columns.
        label: float64[rows], 0 and 1, classes from 0 on, or numbers.
        rng: own randomness.
        held_out: how many rows at the end of those aligned trees are not grown on.
        least_rows: with fewer rows to train on, or held out where any is, this owner does not take part.
        progress: told after each round.

    Returns:
        Its part of the ensemble.

    Raises:
        InvalidInput: another rank, a label of another length than the columns, a patience without rows held
            out, or directions of other columns.
        ValueOutOfRange: gradients beyond the fixed-point range; nothing was encrypted of them.
        CohortTooSmall: too few rows, trained on or held out.
        InputsDisagree: an owner has other rows or settings.
        ProtocolAbort: a message is not as the protocol has it, or an owner aborted.

    Security: semi-honest; see `SPEC`. Leaks: see `SPEC`. Cost: `federated.boosting.costs`.
    Source: Cheng et al. 2019, algorithms 1 and 2.
    """
    _check_call(peers, settings, held_out, is_holder=True)
    if len(label) != binned.codes.shape[1]:
        raise InvalidInput(f"label: expected {binned.codes.shape[1]} values, got {len(label)}")
    run = _LabelHolder(peers, settings, binned, held_out, least_rows, rng)
    rows, objective = run.sizes.rows, settings.objective
    base = objectives.base_margins(label[:rows], settings)
    margins: Floats = np.repeat(np.array(base)[:, None], len(label), axis=1)
    kept_margins = margins
    trees, losses, held_out_losses = list[Tree](), list[float](), list[float]()
    kept = 0
    while not kept:
        g, h = objectives.gradients(margins[:, :rows], label[:rows], objective)
        weights = drawn_weights(np.abs(g).sum(axis=0), settings, rng)
        grown = run.grow(weights * g, weights * h)
        margins = margins + np.stack([added for _, added in grown])
        trees += [tree for tree, _ in grown]
        losses.append(objectives.loss(margins[:, :rows], label[:rows], objective))
        if held_out:
            held_out_losses.append(objectives.loss(margins[:, rows:], label[rows:], objective))
        if not settings.patience or held_out_losses[-1] < min(held_out_losses[:-1], default=np.inf):
            kept_margins = margins
        progress(len(losses), settings.trees)
        if settings.patience:
            kept = kept_of(held_out_losses, settings)
            peers.broadcast("kept", messages.encode_kept(kept))
        elif len(losses) == settings.trees:
            kept = settings.trees
    peers.confirm()
    return Ensemble(
        base=base,
        trees=tuple(trees[: kept * settings.classes]),
        own=tuple(run.own[: run.records[kept - 1]]),
        margins=kept_margins,
        losses=tuple(losses),
        held_out_losses=tuple(held_out_losses),
        sizes=run.sizes,
        asked=tuple(run.asked),
        won=tuple(run.won),
    )


def feature_owner(
    peers: ConfirmedMesh,
    settings: Settings,
    binned: Binned,
    rng: Randomness,
    *,
    held_out: int = 0,
    least_rows: int = 1,
    progress: Progress = lambda done, total: None,
) -> OwnPart:
    """Play an owner without the label, any rank but 0.

    Args, Security, Leaks, Cost, Source: as `label_holder`.

    Returns:
        Its own splits.

    Raises:
        InvalidInput: every column is constant; and as `label_holder`.
    """
    _check_call(peers, settings, held_out, is_holder=False)
    aligned, counts, peer = binned.codes.shape[1], binned.counts, peers[0]
    if not sum(counts):
        raise InvalidInput(f"columns: expected one with different values, all {len(counts)} are constant")
    peer.send("terms", messages.encode_terms(aligned, held_out, settings, counts))
    messages.decode_terms(peer.receive("terms"), aligned, held_out, settings)
    _check_rows(aligned, held_out, least_rows)
    rows = aligned - held_out
    holder = SubsetHolder(peer.receive("key"), binned.codes[:, :rows], counts, rng)
    splits, records = list[OwnSplit](), list[int]()
    kept = 0
    while not kept:
        for level in range(settings.depth):
            most = settings.most_asked(level)
            nodes, blocks = messages.decode_nodes(peer.receive("nodes"), rows, most)
            if blocks is None:
                break
            sums = [_summed(peer, holder, blocks) for _ in range(blocks.turns(nodes))]
            messages.send_bytes(peer, "sums", b"".join(sums))
            won = messages.decode_splits(peer.receive("splits"), counts, settings.most_splits(level))
            splits += [OwnSplit(column, float(binned.cuts[column][cut])) for column, cut in won]
            sides = [binned.codes[column] <= cut for column, cut in won]
            peer.send("sides", messages.encode_sides(np.array(sides, np.bool_).reshape(-1, aligned)))
            # While the label holder encrypts; about as many as this level took.
            holder.prepare(holder.products(blocks))
        records.append(len(splits))
        progress(len(records), settings.trees)
        if settings.patience:
            kept = messages.decode_kept(peer.receive("kept"), len(records), settings)
        elif len(records) == settings.trees:
            kept = settings.trees
    peers.confirm()
    return OwnPart(tuple(splits[: records[kept - 1]]), kept)


def _check_call(peers: ConfirmedMesh, settings: Settings, held_out: int, *, is_holder: bool) -> None:
    if is_holder != (peers.rank == 0):
        raise InvalidInput(f"expected the label holder, and it alone, at rank 0, got rank {peers.rank}")
    if settings.patience and not held_out:
        raise InvalidInput(f"patience: expected 0 where no rows are held out, got {settings.patience}")


def _check_rows(aligned: int, held_out: int, least: int) -> None:
    if aligned - held_out < least or 0 < held_out < least:
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
        self,
        peers: ConfirmedMesh,
        settings: Settings,
        binned: Binned,
        held_out: int,
        least_rows: int,
        rng: Randomness,
    ) -> None:
        aligned = binned.codes.shape[1]
        self._peers, self._settings, self._binned, self._rng = peers, settings, binned, rng
        for peer in peers.peers:
            peers[peer].send("terms", messages.encode_terms(aligned, held_out, settings, ()))
        stated = [
            messages.decode_terms(peers[peer].receive("terms"), aligned, held_out, settings)
            for peer in peers.peers
        ]
        if not all(map(sum, stated)):
            raise MalformedMessage("terms: expected cuts of every owner, one states none")
        _check_rows(aligned, held_out, least_rows)
        self.sizes = Sizes(aligned - held_out, tuple(stated), held_out)
        self._counts = (binned.counts, *stated)
        columns = [len(counts) for counts in self._counts]
        if settings.monotone and [len(own) for own in settings.monotone] != columns:
            raise InvalidInput(f"monotone: expected directions of {columns} columns, by owner")
        self._key = bfv.SecretKey()
        peers.broadcast("key", self._key.public())
        self.own: list[OwnSplit] = []
        self.asked: list[int] = []
        self.won: list[tuple[int, ...]] = []
        self.records: list[int] = []
        self._records = [0] * peers.size

    def grow(self, g: Floats, h: Floats) -> list[tuple[Tree, Floats]]:
        """Grow the trees of a round from float64[trees, rows]: each, and what it adds to its margins."""
        numbers = [fixed_point.quantise(*one, self._rng) for one in zip(g, h, strict=True)]
        packed = np.stack([one.packed() for one in numbers])
        counts = [count for own in self._counts for count in own]

        def ask_sums(nodes: Sequence[tuple[int, Rows]]) -> list[Sums]:
            self.asked.append(len(nodes))
            if not nodes:
                self._peers.broadcast("nodes", messages.encode_nodes(0, None))
                return []
            blocks = self.sizes.blocks(len(nodes))
            self._peers.broadcast("nodes", messages.encode_nodes(len(nodes), blocks))
            for first in range(0, len(nodes), blocks.vectors):
                self._send(packed, nodes[first : first + blocks.vectors], blocks)
            parts = [[own_sums(self._binned, numbers[tree], rows) for tree, rows in nodes]]
            parts += [self._opened(peer, len(nodes), blocks) for peer in self._peers.peers]
            columns = zip(*parts, strict=True)
            return [
                (np.concatenate([g for g, _ in one]), np.concatenate([h for _, h in one])) for one in columns
            ]

        growing = [
            Growth(self._settings, counts, *one, self.sizes.held_out)
            for one in zip(numbers, g, h, strict=True)
        ]
        found = grow(growing, ask_sums, self._sides)
        self.records.append(len(self.own))
        return found

    def _send(self, packed: Integers, nodes: Sequence[tuple[int, Rows]], blocks: Blocks) -> None:
        """Send what the rows of nodes side by side have, encrypted, with zeros for all other rows."""
        trees, masks = [tree for tree, _ in nodes], np.stack([rows for _, rows in nodes])
        for first in range(0, blocks.count, messages.CHUNK):
            rows = [
                blocks.rows_of(number) for number in range(first, min(first + messages.CHUNK, blocks.count))
            ]
            encrypted = [
                subset_sums.encrypt(self._key, blocks, np.where(masks[:, one], packed[trees, one], 0))
                for one in rows
            ]
            self._peers.broadcast("blocks", b"".join(encrypted))

    def _opened(self, peer: int, nodes: int, blocks: Blocks) -> list[Sums]:
        """The sums over each node in the bins of one owner."""
        cuts, turns = sum(self._counts[peer]), blocks.turns(nodes)
        size = blocks.products(cuts) * blocks.product_bytes
        payload = messages.receive_bytes(self._peers[peer], "sums", turns * size)
        opened = [
            subset_sums.decrypt(self._key, blocks, payload[turn * size : (turn + 1) * size], cuts)
            for turn in range(turns)
        ]
        return [fixed_point.unpack(one) for one in np.concatenate(opened)[:nodes]]

    def _sides(self, chosen: Mapping[Node, Best]) -> dict[Node, tuple[Split, Rows]]:
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
            self.own.append(OwnSplit(column, float(binned.cuts[column][cut])))
            sides.append(binned.codes[column] <= cut)
        lines = [iter(sides)]
        for peer in self._peers.peers:
            payload = self._peers[peer].receive("sides")
            lines.append(iter(messages.decode_sides(payload, len(won[peer]), self.sizes.aligned)))
        self.won.append(tuple(map(len, won)))
        return {node: (split, next(lines[split.owner])) for node, split in splits.items()}

    def _owner_of(self, column: int) -> tuple[int, int]:
        """Whose column it is among all columns, and its number there."""
        for owner, counts in enumerate(self._counts):
            if column < len(counts):
                return owner, column
            column -= len(counts)
        raise AssertionError("no such column")
