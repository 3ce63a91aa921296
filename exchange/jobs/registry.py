"""The components this build offers, and the digest of the code that runs them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from importlib import resources
from importlib.resources.abc import Traversable

from exchange.errors import InvalidRequest
from exchange.jobs import intersection, joint_statistics, report
from exchange.jobs.component import Component
from exchange.jobs.spec import JobSpec

__all__ = ["Registry", "built_in", "code_digest"]


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

    def check(self, spec: JobSpec) -> None:
        """Check every step of a specification against its component's declaration.

        Raises:
            InvalidRequest: the first thing that differs, by name.
        """
        for step in spec.steps:
            self.get(step.component, f"steps.{step.id}.component").check(spec, step)


def built_in() -> Registry:
    """The components that come with Parley."""
    return Registry((intersection.COMPONENT, joint_statistics.COMPONENT, report.COMPONENT))


@functools.cache
def code_digest() -> str:
    """SHA-256 over the sources of the components and the protocols they call, as receipts state it."""
    digest = hashlib.sha256()
    for package in ("exchange.jobs", "mpc"):
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
