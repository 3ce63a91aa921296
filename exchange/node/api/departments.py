"""The organisation's own data and its departments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, jsonify

from exchange.node.api.access import Access
from exchange.node.people import Departments, Role
from exchange.store import Department
from exchange.web.fields import Rule, body
from exchange.web.openapi import describe

__all__ = ["departments_blueprint"]

_TAGS = ("people",)
_LINE = r"[^\x00-\x1f\x7f]*"

Slug = Annotated[str, Rule("lower-case letters, digits and hyphens, at most 40", minimum=1, maximum=40)]
Parent = Annotated[str, Rule("a department, or empty at the root", maximum=40)]
Title = Annotated[str, Rule("a line of 1 to 200 characters", minimum=1, maximum=200, pattern=_LINE)]
Line = Annotated[str, Rule("a line of at most 400 characters", maximum=400, pattern=_LINE)]


@dataclass(frozen=True)
class DepartmentBody:
    """A department and the one above it."""

    department: Slug
    title: Title
    parent: Parent = ""


@dataclass(frozen=True)
class PlaceRequest:
    """A department's title and the one above it."""

    title: Title
    parent: Parent = ""


@dataclass(frozen=True)
class DepartmentAnswer:
    """A department; ``parent`` is empty at the root."""

    department: str
    title: str
    parent: str


@dataclass(frozen=True)
class DepartmentsAnswer:
    """All departments, by name."""

    departments: tuple[DepartmentAnswer, ...]


@dataclass(frozen=True)
class OrganisationBody:
    """The organisation's own data; what is left out becomes empty."""

    legal_name: Line = ""
    registration: Line = ""
    address: Line = ""
    contact: Line = ""
    email: Line = ""
    phone: Line = ""


@dataclass(frozen=True)
class OrganisationAnswer:
    """The organisation's own data; what was never given is empty."""

    legal_name: str
    registration: str
    address: str
    contact: str
    email: str
    phone: str


def departments_blueprint(access: Access, departments: Departments) -> Blueprint:
    """Routes for the organisation and its departments."""
    bp = Blueprint("departments", __name__, url_prefix="/v1")

    @bp.get("/departments")
    @describe("The departments", role="any", response=DepartmentsAnswer, tags=_TAGS)
    def listed() -> Response:
        access.require()
        return jsonify(departments=[vars(one) for one in departments.all()])

    @bp.post("/departments")
    @describe(
        "Make a department",
        role="administrator",
        request=DepartmentBody,
        response=DepartmentAnswer,
        status=201,
        tags=_TAGS,
    )
    def add() -> tuple[Response, int]:
        by = access.require(Role.ADMINISTRATOR).name
        made = Department(**vars(body(DepartmentBody)))
        departments.add(made, by)
        return jsonify(vars(made)), 201

    @bp.put("/departments/<department>")
    @describe(
        "Give a department another title or another place",
        role="administrator",
        request=PlaceRequest,
        response=DepartmentAnswer,
        tags=_TAGS,
    )
    def change(department: str) -> Response:
        by = access.require(Role.ADMINISTRATOR).name
        made = Department(department, **vars(body(PlaceRequest)))
        departments.change(made, by)
        return jsonify(vars(made))

    @bp.delete("/departments/<department>")
    @describe("Delete an empty department", role="administrator", status=204, tags=_TAGS)
    def remove(department: str) -> tuple[str, int]:
        by = access.require(Role.ADMINISTRATOR).name
        departments.remove(department, by)
        return "", 204

    @bp.get("/organisation")
    @describe("The organisation's own data", role="any", response=OrganisationAnswer, tags=_TAGS)
    def organisation() -> Response:
        access.require()
        return jsonify(departments.organisation())

    @bp.put("/organisation")
    @describe(
        "Replace the organisation's own data",
        role="administrator",
        request=OrganisationBody,
        response=OrganisationAnswer,
        tags=_TAGS,
    )
    def set_organisation() -> Response:
        by = access.require(Role.ADMINISTRATOR).name
        departments.set_organisation(vars(body(OrganisationBody)), by)
        return jsonify(departments.organisation())

    return bp
