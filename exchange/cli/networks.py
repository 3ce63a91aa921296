"""``parley model network``: a neural network's file, looked at before it is published."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from exchange.cli.framework import command, invocation, option
from exchange.cli.output import fields
from exchange.jobs.inference.sequential import Sequential
from exchange.jobs.inference.state_dict import MAX_BYTES
from exchange.jobs.inference.state_dict import network as numbers_of
from mpc.engines.networks import Task
from mpc.engines.shares import Sharing

__all__ = ["network"]


@command("model.network")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@option("--layer", "layers", key="model_layer", multiple=True, required=True)
@option("--bound", key="model_bound", type=click.FloatRange(0, 99_999, min_open=True), required=True)
@click.pass_context
def network(context: click.Context, file: Path, layers: tuple[str, ...], bound: float) -> None:
    """Read a network's file as a step would, and refuse what a step would refuse; no node is asked."""
    with file.open("rb") as opened:
        content = opened.read(MAX_BYTES + 1)
    sequential = Sequential.read(list(layers), "layers")
    numbers_of(content, sequential).encoded(Task(Sharing.ABY3, sequential.layers, 1, bound))
    found = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "layers": list(layers),
        "numbers": sum(layer.numbers for layer in sequential.layers),
        "features": sequential.layers[0].inputs,
        "scores": sequential.layers[-1].outputs,
    }
    invocation(context).output.result(found, fields(found))
