"""Scores by a neural network that stays at the bank, of clients that stay with who asks, on both sharings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from connectors.documents import CONTENT
from exchange.examples.stage import ANALYST, MIN_COHORT, REGULATOR, Stage, step
from exchange.jobs.inference.state_dict import saved

__all__ = ["scored_by"]

_ROWS = 30
_LAYERS = ["linear 3 8", "relu", "linear 8 1", "sigmoid"]
_CLIENTS = dict.fromkeys(("age", "debt", "income"), ("feature", "ENCRYPTED_ONLY"))


def scored_by(component: str, *, has_helper: bool) -> Callable[[Stage], tuple[object, object]]:
    """The example of one component: how does the bank's network score the analyst's clients?

    Args:
        component: ``model/inference-aby3`` or ``-cheetah``.
        has_helper: a third party computes too and enters nothing.
    """

    def ask(stage: Stage) -> tuple[object, object]:
        name = component.rpartition("-")[2]
        generator = np.random.Generator(np.random.PCG64(41))
        clients = generator.uniform(-2, 2, (_ROWS, 3))
        numbers = {
            f"{place}.{part}": generator.normal(size=shape).astype(np.float32)
            for place, part, shape in (
                (0, "weight", (8, 3)),
                (0, "bias", (8,)),
                (2, "weight", (1, 8)),
                (2, "bias", (1,)),
            )
        }
        path = stage.data / "bank" / f"network-{name}.safetensors"
        path.write_bytes(saved(numbers))
        terms = {"operations": [component], "output_types": ["scores"], "min_cohort": MIN_COHORT}
        source = {"kind": "document", "location": str(path)}
        columns = {CONTENT: ("text", "AFTER_AGGREGATE")}
        network = stage.register("bank", f"network-{name}", source, columns, terms)
        agreement = stage.agree(network, list(columns), terms)
        table = pa.table({column: clients[:, at] for at, column in enumerate(_CLIENTS)})
        own = stage.publish(ANALYST, f"scored-{name}", table, _CLIENTS, terms)
        helper = {"helper": stage.did(REGULATOR)} if has_helper else {}
        scoring = step(
            "score",
            component,
            {"client": stage.did(ANALYST), "model_owner": stage.did("bank"), **helper},
            inputs={
                "client": {"asset": own, "columns": [{"name": one, "decimals": 0} for one in _CLIENTS]},
                "model_owner": {"asset": network, "columns": [{"name": CONTENT, "decimals": 0}]},
            },
            params={"layers": _LAYERS, "bound": "2.0", "min_cohort": MIN_COHORT, "max_rows": _ROWS},
            recipients=[stage.did(ANALYST)],
        )
        result = stage.run("Scores by a network", {network: agreement}, scoring)
        hidden = np.maximum(clients @ numbers["0.weight"].T + numbers["0.bias"], 0)
        logits = (hidden @ numbers["2.weight"].T + numbers["2.bias"])[:, 0]
        return [float(score) for _, score in result["rows"]], (1 / (1 + np.exp(-logits))).tolist()

    return ask
