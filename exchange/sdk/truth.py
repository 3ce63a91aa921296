"""The truth check from Python: a job on synthetic twins, beside plaintext, before anybody is asked."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from exchange.sdk.client import NodeClient

if TYPE_CHECKING:
    from exchange.simulated.truth import TruthCheck

__all__ = ["truth_check"]


def truth_check(
    client: NodeClient,
    spec: Mapping[str, object],
    *,
    share: float = 0.75,
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> TruthCheck:
    """Play a job on the twins of its assets, in this process, and compare each result with plaintext.

    Nothing is submitted, and no owner's data is read: twins are fetched, and simulated parties compute.

    Args:
        client: of the caller's node, which fetches the twins.
        spec: the job as it would be submitted.
        share: of the rows of the smallest matched table, above 0 and at most 1. So many rows of each get the
            same people, because the identifiers of twins match nobody.
        progress: told how far which step is.

    Raises:
        InvalidRequest: the job is not what its components declare, the share is out of range, or twins cannot
            be given the same people.
        NodeProblem: an asset has no twin, or its owner's node does not give it.
    """
    # An SDK that only asks its node loads no component.
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet

    from exchange.jobs.spec import JobSpec
    from exchange.simulated.truth import check

    job = JobSpec.from_json(dict(spec))
    twins: dict[str, pa.Table] = {
        asset: pa.parquet.read_table(io.BytesIO(client.twin(asset))) for asset in job.assets()
    }
    rng = np.random.Generator(np.random.PCG64DXSM(secrets.randbits(256)))
    return check(job, twins, share=share, rng=rng, progress=progress)
