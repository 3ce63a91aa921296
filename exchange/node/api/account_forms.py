"""What the forms of the sign-in and account pages send.

They hold secrets, so none of them has a ``repr`` that shows its fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from exchange.node.api.people import Days, Roles
from exchange.node.api.sign_in import Code, Name, Password
from exchange.node.api.tokens import TokenTitle
from exchange.web.fields import Rule

__all__ = [
    "ActForm",
    "CodeForm",
    "CodesForm",
    "InvitationForm",
    "PasswordForm",
    "SignInForm",
    "TokenForm",
]

Csrf = Annotated[str, Rule("the value of the page's form", maximum=100)]


@dataclass(frozen=True, repr=False)
class SignInForm:
    """What a person shows."""

    csrf: Csrf
    name: Name
    password: Password
    code: Code = ""


@dataclass(frozen=True, repr=False)
class InvitationForm:
    """An invitation, and the password that the person chooses, twice."""

    csrf: Csrf
    name: Name
    invitation: Annotated[str, Rule("the invitation", minimum=1, maximum=100)]
    chosen: Password
    again: Password


@dataclass(frozen=True, repr=False)
class PasswordForm:
    """The present password, and the one that is to be, twice."""

    csrf: Csrf
    present: Password
    chosen: Password
    again: Password


@dataclass(frozen=True, repr=False)
class CodesForm:
    """The present password, once more."""

    csrf: Csrf
    password: Annotated[str, Rule("a password", maximum=256)] = ""


@dataclass(frozen=True, repr=False)
class CodeForm:
    """The code that the authenticator shows now."""

    csrf: Csrf
    code: Code


@dataclass(frozen=True, repr=False)
class TokenForm:
    """A token that is to be made."""

    csrf: Csrf
    title: TokenTitle
    days: Days
    roles: Roles


@dataclass(frozen=True, repr=False)
class ActForm:
    """A button."""

    csrf: Csrf
