"""Write docs/components.md from the registry of components; --check only compares."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from exchange.examples import EXAMPLES
from exchange.jobs.component import Component
from exchange.jobs.registry import built_in

PAGE = Path(__file__).resolve().parent.parent / "docs" / "components.md"
_PAGES = {
    "bridge/flower": "flower.md",
    "compute/expression": "protocols.md#computeexpression",
    "compute/expression-aby3": "engines.md#queries-over-secret-columns",
    "compute/expression-cheetah": "engines.md#queries-over-secret-columns",
    "delivery/file": "delivery.md",
    "delivery/marked-table": "delivery.md",
    "delivery/receive": "delivery.md",
    "delivery/table": "delivery.md",
    "model/assign-clusters": "models-clusters.md#rows-of-clusters",
    "model/bins": "models-scorecard.md",
    "model/boosting": "models-boosting.md",
    "model/boosting-shared": "models-boosting.md#trees-on-shares",
    "model/correlation": "models-preparation.md#correlation-and-inflation",
    "model/evaluate": "models.md#evaluation",
    "model/fedavg": "models-horizontal.md",
    "model/fedboost": "models-horizontal.md#boosted-trees",
    "model/inference-aby3": "engines.md#a-neural-network-on-shares",
    "model/inference-cheetah": "engines.md#a-neural-network-on-shares",
    "model/joint": "models-horizontal.md#parameters",
    "model/kmeans": "models-horizontal.md#clusters",
    "model/kmeans-columns": "models-clusters.md",
    "model/linear": "models-regression.md",
    "model/logistic": "models-regression.md",
    "model/network": "models-network.md",
    "model/part": "models-regression.md#who-learns-what",
    "model/poisson": "models-regression.md",
    "model/prepare": "models-preparation.md#preparation",
    "model/score": "models.md#scores",
    "model/score-network": "models-network.md#scores",
    "model/score-trees": "models-boosting.md#scores",
    "model/scorecard": "models-scorecard.md#scorecards",
    "model/stability": "models-preparation.md#stability",
    "model/trees": "models-boosting.md#each-owners-part",
    "model/woe": "models-scorecard.md",
    "report/evaluation": "models.md#plots",
    "sql/query": "sql.md",
    "sql/query-rr22": "sql.md#who-computes-who-learns",
    "sql/rows": "sql.md",
    "sql/rows-rr22": "sql.md#who-computes-who-learns",
}
"""Components that have a page of their own besides the section of their protocol."""
_SECTIONS = {"sql/query": "sql", "sql/query-rr22": "sql"}
"""Protocols whose section of protocols.md has another heading than their name."""
_HEAD = """# Components

What a step of a job can be. This page is written by `scripts/components_page.py` from the registry that
nodes run: a component that is not here does not exist. The figure and the limits of a protocol are in
[protocols](protocols.md). `parley example run` asks every component a question and compares the answer with
plaintext.

A level is the least that an owner must allow for a column that the step reads. `owner-n` stands for
`owner-1`, `owner-2` and so on.
"""


def escaped(text: str) -> str:
    """Keep Markdown from reading signs of a table or a tag in a text."""
    return text.replace("<", "&lt;").replace("|", "&#124;").replace("\n", " ")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Render rows as a table."""
    yield ""
    yield f"| {' | '.join(header)} |"
    yield f"| {' | '.join('---' for _ in header)} |"
    yield from (f"| {' | '.join(map(escaped, row))} |" for row in rows)


def roles(component: Component) -> Iterator[Sequence[str]]:
    """Each role, how many parties play it, and what it reads."""
    for role, given in component.roles.items():
        least, most = component.repeated.get(role, (1, 1))
        parties = str(least) if least == most else f"{least} to {most}"
        if given is None:
            who = "any member" if role in component.helpers else "who asked"
            yield (f"`{role}`", parties, f"nothing; played by {who}", "")
            continue
        columns = (
            str(given.minimum) if given.minimum == given.maximum else f"{given.minimum} to {given.maximum}"
        )
        kinds = ", ".join(sorted(given.column_roles))
        yield (
            f"`{role}-n`" if role in component.repeated else f"`{role}`",
            parties,
            f"columns: {columns}; {kinds}",
            given.level.name,
        )


def learned(component: Component) -> Iterator[Sequence[str]]:
    """Who learns what besides the output of the step."""
    if component.protocol is not None:
        for role, facts in component.protocol.leaks.items():
            yield from ((role, fact) for fact in facts)
    elif component.open_result is not None and not component.is_delivery:
        yield ("owner", "nothing: each works at its own node")
    elif any(given is not None for given in component.roles.values()):
        yield ("who asked", "all that is handed over: every value of the named columns, or the file")
    else:
        yield ("reader", "nothing but what the step before it released to the reader, put together")


def section(component: Component) -> Iterator[str]:
    """Render one component."""
    protocol = component.protocol
    yield f"\n## {component.name}\n"
    yield f"Version {component.version}. {component.summary}"
    yield from table(("role", "parties", "reads", "level"), list(roles(component)))
    if component.params:
        rows = [
            (f"`{name}`", "may be left out" if param.optional else "required", param.summary)
            for name, param in component.params.items()
        ]
        yield from table(("parameter", "", "meaning"), rows)
    yield from table(("who", "learns besides the output"), list(learned(component)))
    facts = [("output type", f"`{component.output_type}`")]
    if component.needs:
        facts.append(("after", ", ".join(f"`{name}`" for name in sorted(component.needs))))
    if protocol is None:
        facts.append(("protocol", "none: nothing is computed between parties"))
    else:
        anchor = _SECTIONS.get(protocol.name, protocol.name.replace("/", ""))
        facts.append(("protocol, figure", f"[`{protocol.name}`](protocols.md#{anchor})"))
        facts.append(("adversary, corruptions", f"{protocol.adversary}, {protocol.corruptions}"))
        facts.append(("cost", protocol.cost))
        facts.append(("source", protocol.source))
    facts.append(("engine", component.engine.name))
    if component.name in _PAGES:
        facts.append(("page", f"[{_PAGES[component.name].partition('#')[0]}]({_PAGES[component.name]})"))
    asked = [f"`{name}`" for name, example in EXAMPLES.items() if component.name in example.components]
    facts.append(("examples", ", ".join(asked)))
    yield from table(("property", "value"), facts)


def page() -> str:
    """Return the whole page, components by name."""
    found = sorted(built_in(), key=lambda component: component.name)
    names = "\n".join(
        f"- [`{one.name}`](#{one.name.replace('/', '')}): {escaped(one.summary)}" for one in found
    )
    return f"{_HEAD}\n{names}\n" + "\n".join(line for one in found for line in section(one)) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the page, or compare it."""
    after = page()
    if "--check" in arguments:
        same = PAGE.is_file() and PAGE.read_text("utf-8") == after
        if not same:
            print("docs/components.md differs from the registry; run scripts/components_page.py")
        return int(not same)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
