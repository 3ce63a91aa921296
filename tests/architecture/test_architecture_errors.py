"""Every domain error says whose fault it is and has one public face."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections import Counter
from functools import cache
from http import HTTPStatus

from exchange.errors import ExchangeError, public_face

PACKAGES = ("exchange", "federated", "mpc", "ledger", "connectors", "policies")
CODE = re.compile(r"[a-z][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)+")


@cache
def domain_errors() -> tuple[type[Exception], ...]:
    """Every error class of the six packages that has a code."""
    found: set[type[Exception]] = set()
    for package in PACKAGES:
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            if module.name.endswith("__main__") or ".migrations" in module.name or "_pb2" in module.name:
                continue
            for _, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                if issubclass(value, Exception) and value.__module__.split(".")[0] in PACKAGES:
                    found.add(value)
    coded = [error for error in found if hasattr(error, "code")]
    return tuple(sorted(coded, key=name_of))


def name_of(error: type[Exception]) -> str:
    return f"{error.__module__}.{error.__qualname__}"


def own(error: type[Exception], attribute: str) -> object:
    return inspect.getattr_static(error, attribute, None)


def is_root(error: type[Exception]) -> bool:
    return not any(base in domain_errors() for base in error.__bases__)


def blank(error: type[Exception]) -> Exception:
    """An error of this class whatever its constructor asks for: its class attributes decide its face."""
    made = error.__new__(error)
    Exception.__init__(made, "expected this, got that")
    return made


def test_each_states_code_blame_and_retryable() -> None:
    assert len(domain_errors()) > 40
    for error in domain_errors():
        assert CODE.fullmatch(str(own(error, "code"))), name_of(error)
        assert own(error, "blame") in {"caller", "peer", "operator", "nobody"}, name_of(error)
        assert isinstance(own(error, "retryable"), bool), name_of(error)
        assert vars(error).get("__doc__"), name_of(error)


def test_codes_are_unique() -> None:
    codes = Counter(vars(error)["code"] for error in domain_errors() if "code" in vars(error))
    assert {code: times for code, times in codes.items() if times > 1} == {}


def test_each_package_has_one_root() -> None:
    roots: dict[str, list[str]] = {}
    for error in domain_errors():
        if is_root(error):
            roots.setdefault(error.__module__.split(".")[0], []).append(name_of(error))
    assert {package: names for package, names in roots.items() if len(names) > 1} == {}
    assert is_root(ExchangeError)


def test_each_has_a_public_face() -> None:
    for error in domain_errors():
        face = public_face(blank(error))
        assert face.code == own(error, "code"), name_of(error)
        assert HTTPStatus.BAD_REQUEST <= HTTPStatus(face.status) < 600, name_of(error)
        assert 1 <= face.exit_code <= 4, name_of(error)
        assert face.title, name_of(error)


def test_every_listed_face_belongs_to_an_error() -> None:
    from exchange import errors

    assert set(errors._FACES) <= {own(error, "code") for error in domain_errors()}


def test_a_foreign_error_shows_nothing() -> None:
    face = public_face(ValueError("row 17: A123456789"))
    assert "A123456789" not in face.detail + face.title
    assert (face.status, face.exit_code) == (500, 5)
