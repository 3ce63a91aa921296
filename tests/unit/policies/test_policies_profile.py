"""The published profile and its JSON-LD context say what the evaluator's tables say, no more and no less."""

from __future__ import annotations

import json

import pytest
from rdflib import OWL, RDF, RDFS, Graph, Literal, Namespace, URIRef
from rdflib.namespace import SKOS

from policies import PROFILE, Level
from policies.sentences import label_of
from policies.vocabulary import (
    ACTIONS,
    CONTEXT,
    DUTIES,
    DUTY_PARTIES,
    OPERANDS,
    context_document,
    profile_document,
)

ODRL, PARLEY = Namespace("http://www.w3.org/ns/odrl/2/"), Namespace(f"{PROFILE}#")
STANDARD = {"purpose", "recipient", "dateTime", "elapsedTime", "count", "payAmount"}


@pytest.fixture(scope="module")
def profile() -> Graph:
    return Graph().parse(data=profile_document(), format="turtle")


def iri(operand: str) -> URIRef:
    return ODRL[operand] if operand in STANDARD else PARLEY[operand]


def test_the_profile_names_itself(profile: Graph) -> None:
    assert (URIRef(PROFILE), RDF.type, OWL.Ontology) in profile


def test_the_operands_are_those_of_the_evaluator(profile: Graph) -> None:
    assert set(profile.subjects(RDF.type, ODRL.LeftOperand)) == {iri(name) for name in OPERANDS}
    for name, operand in OPERANDS.items():
        operators = set(profile.objects(iri(name), PARLEY.operator))
        assert operators == {ODRL[operator.value] for operator in operand.operators}, name
        assert profile.value(iri(name), PARLEY.kind) == Literal(operand.kind.value)


def test_each_operand_of_the_profile_is_defined_and_named_in_both_languages(profile: Graph) -> None:
    for name in set(OPERANDS) - STANDARD:
        assert {label.language for label in profile.objects(iri(name), RDFS.label)} == {"en", "zh"}  # type: ignore[attr-defined]
        assert len(list(profile.objects(iri(name), SKOS.definition))) == 1
        assert profile.value(iri(name), RDFS.isDefinedBy) == URIRef(PROFILE)
    for name in OPERANDS:
        assert label_of(name, "en") != name
        assert label_of(name, "zh") != label_of(name, "en")


def test_the_actions_are_those_of_the_evaluator(profile: Graph) -> None:
    assert set(profile.subjects(RDF.type, ODRL.Action)) == {ODRL[name] for name in {*ACTIONS, *DUTIES}}
    for name, broader in ACTIONS.items():
        assert profile.value(ODRL[name], ODRL.includedIn) == (None if broader is None else ODRL[broader])
        assert profile.value(ODRL[name], PARLEY.asDuty) == Literal(False)
    for name in DUTIES:
        assert profile.value(ODRL[name], PARLEY.asDuty) == Literal(True)
        party = DUTY_PARTIES.get(name)
        assert profile.value(ODRL[name], PARLEY.party) == (None if party is None else ODRL[party])


def test_the_context_declares_exactly_the_terms_that_odrl_does_not_and_protects_them() -> None:
    context = json.loads(context_document())["@context"]
    assert context["@protected"] is True
    terms = {name: iri for name, iri in context.items() if iri == f"parley:{name}"}
    assert set(terms) == set(OPERANDS) - STANDARD
    assert set(context) - set(terms) - {"@version", "@protected"} == {
        "parley",
        "dpv",
        "sector-finance",
        "sector-publicservices",
    }
    assert CONTEXT == ("http://www.w3.org/ns/odrl.jsonld", f"{PROFILE}/context.jsonld")


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")  # rdflib's own use
def test_a_policys_words_expand_to_the_profiles_terms() -> None:
    own = json.loads(context_document())["@context"]
    # What the context of ODRL says of the two keys used here; nothing is fetched.
    of_odrl = {
        "odrl": str(ODRL),
        "leftOperand": {"@id": "odrl:leftOperand", "@type": "@vocab"},
        "count": "odrl:count",
    }
    for name in sorted(set(OPERANDS) - STANDARD):
        document = {"@context": [of_odrl, own], "@id": "urn:x", "leftOperand": name}
        graph = Graph().parse(data=json.dumps(document), format="json-ld")
        assert graph.value(URIRef("urn:x"), ODRL.leftOperand) == PARLEY[name]


def test_the_levels_are_the_seven() -> None:
    assert len(Level) == 7
