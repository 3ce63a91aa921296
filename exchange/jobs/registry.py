"""The components this build offers, and the digest of the code that runs them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Final

from exchange.delivery.receiving import RECEIVE
from exchange.delivery.sending import SENDERS
from exchange.errors import InvalidRequest
from exchange.jobs import (
    aggregate_statistics,
    assigned_clusters,
    correlation,
    encrypted_scoring,
    encrypted_sums,
    fast_intersection,
    intersection,
    joint_model,
    joint_statistics,
    kmeans,
    kmeans_columns,
    over_threshold,
    psi_many,
    psi_shared,
    psi_sum,
    report,
    stability,
    statistics,
)
from exchange.jobs.boosting import component as boosting
from exchange.jobs.boosting import part as trees_part
from exchange.jobs.boosting import shared as shared_boosting
from exchange.jobs.component import Component
from exchange.jobs.engines import Engine
from exchange.jobs.evaluation import component as evaluation
from exchange.jobs.evaluation import report as evaluation_report
from exchange.jobs.fedavg import component as fedavg
from exchange.jobs.fedboost import component as fedboost
from exchange.jobs.flower import component as flower_apps
from exchange.jobs.flower.installation import Flower
from exchange.jobs.inference import component as inference
from exchange.jobs.network import component as network
from exchange.jobs.preparation import component as preparation
from exchange.jobs.psi import cardinality, unbalanced
from exchange.jobs.regression import component as regression
from exchange.jobs.regression import part as model_part
from exchange.jobs.results_reader import reader_of
from exchange.jobs.scorecard import card, woe
from exchange.jobs.scorecard import reader as own_bins
from exchange.jobs.scoring import component as scoring
from exchange.jobs.scoring import network as network_scores
from exchange.jobs.scoring import trees as tree_scores
from exchange.jobs.secret_columns import component as secret_columns
from exchange.jobs.secret_columns import engine as secret_engine
from exchange.jobs.spec import JobSpec, Step
from exchange.sql import component as queries

__all__ = ["Registry", "built_in", "code_digest"]

NO_FLOWER: Final = Flower()
"""Of a node whose settings name none."""


class Registry:
    """Components by name. A name stands once; an unknown one is refused with the known ones listed."""

    def __init__(self, components: Iterable[Component]) -> None:
        self._components: dict[str, Component] = {}
        for component in components:
            if component.name in self._components:
                raise ValueError(f"component {component.name} is registered twice")
            self._components[component.name] = component

    def __iter__(self) -> Iterator[Component]:
        return iter(self._components.values())

    def get(self, name: str, at: str = "component") -> Component:
        """The component of that name.

        Raises:
            InvalidRequest: there is none; the message lists those there are.
        """
        try:
            return self._components[name]
        except KeyError:
            raise InvalidRequest(at, f"one of {', '.join(sorted(self._components))}", name) from None

    def engines(self) -> list[Engine]:
        """The engines that these components run on, by name."""
        found = {component.engine.name: component.engine for component in self}
        return [engine for _, engine in sorted(found.items())]

    def summary(self, spec: JobSpec) -> list[dict[str, Any]]:
        """The steps as the ledger states them, with the absences that their components survive."""
        survived = {step.id: self.get(step.component).survives(step) for step in spec.steps}
        return [
            step if survived[step["id"]] is None else {**step, "absences": survived[step["id"]]}
            for step in spec.summary()
        ]

    def check(self, spec: JobSpec) -> None:
        """Check every step of a specification against its component's declaration.

        Raises:
            InvalidRequest: the first thing that differs, by name.
        """
        for step in spec.steps:
            component = self.get(step.component, f"steps.{step.id}.component")
            component.check(spec, step)
            if component.takes_rows:
                for name in step.after:
                    self._check_rows(step, spec.step(name))

    def _check_rows(self, step: Step, before: Step) -> None:
        """Check that a step leaves aligned rows, of the same asset, at every owner that reads them later."""
        aligns = self.get(before.component, f"steps.{before.id}.component").aligns
        if aligns is None:
            return
        aligned = aligns(before)
        for role in step.inputs:
            earlier = before.role_of(step.parties[role])
            if earlier is None:
                expected = f"an owner whose rows step {before.id} aligns"
                raise InvalidRequest(f"steps.{step.id}.parties.{role}", expected, step.parties[role])
            if earlier not in aligned.roles:
                raise InvalidRequest(
                    f"steps.{before.id}.params.{aligned.decided_by}",
                    f"{aligned.expected}, as step {step.id} reads aligned rows of {earlier}",
                    str(before.params.get(aligned.decided_by, "another value")),
                )
            if step.inputs[role].asset != before.inputs[earlier].asset:
                expected = f"{before.inputs[earlier].asset}, whose rows step {before.id} aligns"
                raise InvalidRequest(
                    f"steps.{step.id}.inputs.{role}.asset", expected, step.inputs[role].asset
                )


def built_in(flower: Flower = NO_FLOWER) -> Registry:
    """The components that come with Parley.

    Args:
        flower: what the node that runs them has of Flower.
    """
    joint = (
        aggregate_statistics.COMPONENT,
        assigned_clusters.COMPONENT,
        boosting.COMPONENT,
        correlation.COMPONENT,
        encrypted_scoring.COMPONENT,
        encrypted_sums.SUMS,
        encrypted_sums.OPEN,
        evaluation.COMPONENT,
        fast_intersection.COMPONENT,
        fedavg.COMPONENT,
        fedboost.COMPONENT,
        flower_apps.component_of(flower),
        intersection.COMPONENT,
        joint_statistics.COMPONENT,
        inference.ABY3,
        inference.CHEETAH,
        kmeans.COMPONENT,
        kmeans_columns.COMPONENT,
        network.COMPONENT,
        network_scores.COMPONENT,
        regression.LINEAR,
        regression.LOGISTIC,
        regression.POISSON,
        scoring.COMPONENT,
        shared_boosting.COMPONENT,
        stability.COMPONENT,
        tree_scores.COMPONENT,
        statistics.COMPONENT,
        card.COMPONENT,
        woe.COMPONENT,
        *queries.ALL,
        over_threshold.COMPONENT,
        preparation.COMPONENT,
        psi_many.COMPONENT,
        psi_shared.COMPONENT,
        psi_sum.COMPONENT,
        secret_columns.COMPONENT,
        cardinality.COMPONENT,
        unbalanced.COMPONENT,
        secret_engine.ABY3,
        secret_engine.CHEETAH,
    )
    readers = (
        reader_of(joint),
        report.COMPONENT,
        evaluation_report.COMPONENT,
        model_part.COMPONENT,
        own_bins.COMPONENT,
        joint_model.READER,
        trees_part.COMPONENT,
    )
    return Registry((*joint, *readers, *SENDERS, RECEIVE))


@functools.cache
def code_digest() -> str:
    """SHA-256 over the sources of the components and the protocols they call, as receipts state it."""
    digest = hashlib.sha256()
    for package in ("exchange.delivery", "exchange.jobs", "exchange.sql", "federated", "mpc"):
        for name, content in sorted(_sources(resources.files(package), package)):
            digest.update(f"{name} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()


def _sources(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _sources(entry, f"{prefix}/{entry.name}")
        elif entry.name.endswith(".py"):
            yield f"{prefix}/{entry.name}", entry.read_bytes()
