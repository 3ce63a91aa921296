"""Everything about joint models at one node, built once by the daemon."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from exchange.node.services import NodeServices
from exchange.rpc.scores import ScoreLinks
from exchange.scoring.admission import Admission
from exchange.scoring.asking import Asking
from exchange.scoring.registry import Models
from exchange.scoring.reporting import Reporter
from exchange.scoring.serving import Desk
from exchange.store import ScoreQuestion

__all__ = ["Scoring"]


class Scoring:
    """One participant's models: as a label holder that scores, and as an owner that answers.

    Args:
        services: the node's parts.
        wake: called when a table is to be made.
    """

    def __init__(self, services: NodeServices, wake: Callable[[], None]) -> None:
        ledger, kept, keys, clock = services.ledger, services.store.scoring, services.keys, services.clock
        name, root = services.settings.name, services.settings.directory / "models"
        self._ledger, self._kept, self._me = ledger, kept, keys.did
        self.links = ScoreLinks(keys)
        self.models = Models(ledger, services.assets, services.store.jobs, kept, keys, name, root, wake)
        self.desk = Desk(Admission(ledger, kept, keys.did, clock, self.models.is_ready), self.models)
        self.reporter = Reporter(ledger, kept)
        self.asking = Asking(ledger, kept, self.models, self.links, keys, services.net, clock)

    def stop(self) -> None:
        """Ask, and report, nothing more."""
        self.reporter.stop()
        self.links.close()

    def statement(self) -> list[Mapping[str, Any]]:
        """Accounts on the ledger in which this member is a side."""
        rows = self._ledger.final_rows("model_accounts")
        return [row for row in rows if self._me in (row["provider"], row["consumer"])]

    def questions(self, limit: int) -> list[ScoreQuestion]:
        """Who of this member asked how often, the latest days first."""
        return self._kept.questions(limit)
