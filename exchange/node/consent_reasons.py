"""Whether a job may read assets whose use needs the consent of whom the rows are about."""

from __future__ import annotations

from exchange.credentials.consents import consents, is_required
from exchange.node.consented import Use
from exchange.node.job_request import Reason, Request

__all__ = ["consent_reasons"]


def consent_reasons(request: Request) -> list[Reason]:
    """Refuse a job that reads an asset whose use needs consent and for which nobody has consented."""
    reasons = []
    for asset in request.mine():
        if not is_required(request.state, asset):
            continue
        columns = Use.by(request.spec, asset).columns
        if not consents(request.state, asset, request.spec.purpose, request.now, columns):
            text = f"asset {asset}: no data subject has consented to {request.spec.purpose} of these columns"
            reasons.append(Reason("consent.none", text))
    return reasons
