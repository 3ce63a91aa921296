"""Rounds of Flower's FedAvg among simulated clients that send back what they get: prints seconds a round.

Run as ``python flower_rounds.py CLIENTS PARAMETERS ROUNDS`` by an interpreter with flwr[simulation].
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

CLIENTS, PARAMETERS, ROUNDS = map(int, sys.argv[1:4])
client, server = ClientApp(), ServerApp()
ended: list[float] = []


class Timed(FedAvg):
    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> object:
        found = super().aggregate_train(server_round, replies)
        ended.append(time.perf_counter())
        return found


@client.train()
def train(message: Message, context: Context) -> Message:
    told = {"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 200})}
    return Message(RecordDict(told), reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    strategy = Timed(
        fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=CLIENTS, min_available_nodes=CLIENTS
    )
    strategy.start(grid=grid, initial_arrays=ArrayRecord([np.zeros(PARAMETERS)]), num_rounds=ROUNDS)


run_simulation(server_app=server, client_app=client, num_supernodes=CLIENTS)
print((ended[-1] - ended[0]) / (len(ended) - 1))
