"""Which columns go with late payment? A Flower app: logistic regression in numpy, trained by FedAvg.

The server sees one node, all owners together, so the least numbers of nodes are 1.
"""

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

client = ClientApp()
server = ServerApp()


def rows_of(context: Context) -> tuple[np.ndarray, np.ndarray]:
    """This owner's rows: ones and the scaled features, float64[rows, 3], and the label, float64[rows]."""
    table, config = np.load(context.node_config["rows"]), context.run_config
    scaled = [
        (table[name] - config[f"{name}-middle"]) / config[f"{name}-scale"] for name in ("debt", "income")
    ]
    return np.column_stack([np.ones(len(table)), *scaled]), table["late"]


def loss_of(weights: np.ndarray, features: np.ndarray, label: np.ndarray) -> float:
    """The mean cross-entropy."""
    scores = features @ weights
    return float(np.mean(np.logaddexp(0, scores) - label * scores))


@client.train()
def train(message: Message, context: Context) -> Message:
    """Take gradient steps over all rows from the weights of the round."""
    features, label = rows_of(context)
    weights = message.content["arrays"]["weights"].numpy()
    for _ in range(context.run_config["steps"]):
        fitted = 1 / (1 + np.exp(-features @ weights))
        weights = weights - context.run_config["rate-percent"] / 100 * (fitted - label) @ features / len(
            label
        )
    metrics = MetricRecord({"num-examples": len(label), "loss": loss_of(weights, features, label)})
    arrays = ArrayRecord({"weights": Array(weights)})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@client.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Judge the weights of the round."""
    features, label = rows_of(context)
    loss = loss_of(message.content["arrays"]["weights"].numpy(), features, label)
    metrics = MetricRecord({"num-examples": len(label), "loss": loss})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Average over all owners; what is left in the state is the result."""
    strategy = FedAvg(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1)
    first = ArrayRecord({"weights": Array(np.zeros(3))})
    result = strategy.start(grid=grid, initial_arrays=first, num_rounds=context.run_config["rounds"])
    context.state["arrays"] = result.arrays
