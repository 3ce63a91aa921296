"""The truth check from Python: a job on synthetic twins, beside plaintext, before anybody is asked."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from exchange.sdk.client import NodeClient

if TYPE_CHECKING:
    import pyarrow as pa

    from exchange.simulated.truth import TruthCheck

__all__ = ["truth_check"]

_EVERY_ROW: Final = 1_000_000
"""Completeness of a column, in millionths."""


def truth_check(
    client: NodeClient,
    spec: Mapping[str, object],
    *,
    share: float = 0.75,
    samples: Mapping[str, pa.Table] | None = None,
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> TruthCheck:
    """Play a job on the twins of its assets, in this process, and compare each result with plaintext.

    Nothing is submitted, and no owner's data is asked for: twins are fetched, and simulated parties compute.

    Args:
        client: of the caller's node, which fetches the twins and their quality reports.
        spec: the job as it would be submitted.
        share: of the rows of the smallest matched table, above 0 and at most 1. So many rows of each get the
            same people, because the identifiers of twins match nobody.
        samples: tables in place of twins, by asset, where owners gave some; of two of them the identifiers
            are matched as they stand.
        progress: told how far which step is.

    Raises:
        InvalidRequest: the job is not what its components declare, the share is out of range, a table lacks a
            column that the job reads, or twins cannot be given the same people.
        NodeProblem: an asset has no twin, or its owner's node does not give it.
    """
    # An SDK that only asks its node loads no component.
    import numpy as np
    import pyarrow.parquet

    from exchange.jobs.spec import JobSpec
    from exchange.simulated.truth import check

    job, given = JobSpec.from_json(dict(spec)), dict(samples or {})
    twins = {
        asset: pyarrow.parquet.read_table(io.BytesIO(client.twin(asset)))
        for asset in job.assets()
        if asset not in given
    }
    complete = {asset: _complete(client.quality(asset)) for asset in twins}
    rng = np.random.Generator(np.random.PCG64DXSM(secrets.randbits(256)))
    return check(
        job,
        twins | given,
        share=share,
        rng=rng,
        samples=given.keys(),
        complete=complete,
        progress=progress,
    )


def _complete(report: Mapping[str, Any]) -> set[str]:
    """The columns of a quality report that have a value in every row."""
    return {str(one["name"]) for one in report["columns"] if one["completeness"] == _EVERY_ROW}
