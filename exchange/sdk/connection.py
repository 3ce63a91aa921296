"""A connection to a node's API: TLS pinned to its certificate, a token for each role, problems raised."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import httpx

from exchange.errors import NodeUnreachable, TimedOut, Unauthenticated
from exchange.sdk.problems import NodeProblem
from exchange.sdk.profiles import Profile
from exchange.tls import client_context

__all__ = ["SESSION", "Connection", "Json"]

Json = dict[str, Any]
"""A JSON object as the API documents it."""

SESSION = "session"
"""In place of a role: the session of a person who signed in, and no token."""

_FINALITY_S = 60.0  # how long a node may wait for the quorum's cosignatures before it answers


class Connection:
    """A connection to one node; a context manager closes it."""

    def __init__(
        self,
        profile: Profile,
        *,
        timeout_s: float = _FINALITY_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.profile = profile
        self._http = httpx.Client(
            base_url=profile.url,
            verify=client_context(None, None, profile.certificate),
            timeout=timeout_s,
            trust_env=False,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _object(self, method: str, path: str, *, role: str | None = None, **request: Any) -> Json:  # noqa: ANN401  # httpx's own arguments
        answer = self._send(method, path, role=role, **request)
        body = _body(answer)
        if not isinstance(body, dict):
            raise NodeProblem.of(answer.status_code, body)
        return body

    def _list(
        self,
        method: str,
        path: str,
        name: str,
        *,
        role: str | None = None,
        **request: Any,  # noqa: ANN401  # httpx's own arguments
    ) -> list[Json]:
        body = _body(self._send(method, path, role=role, **request))
        found = body.get(name, body.get("items")) if isinstance(body, dict) else body
        return list(found) if isinstance(found, list) else []

    def _send(self, method: str, path: str, *, role: str | None, **request: Any) -> httpx.Response:  # noqa: ANN401  # httpx's own arguments
        try:
            answer = self._http.request(method, path, headers=self._authorization(role), **request)
        except httpx.TimeoutException as error:
            raise TimedOut(
                f"{self.profile.org}'s node at {self.profile.url} gave no answer in time"
            ) from error
        except httpx.TransportError as error:
            raise NodeUnreachable(_unreachable(self.profile, error)) from error
        if answer.is_success:
            return answer
        raise NodeProblem.of(answer.status_code, _body(answer))

    def _stream(self, path: str, *, role: str) -> Iterator[bytes]:
        """Yield a large answer part by part."""
        try:
            with self._http.stream("GET", path, headers=self._authorization(role)) as answer:
                if not answer.is_success:
                    answer.read()
                    raise NodeProblem.of(answer.status_code, _body(answer))
                yield from answer.iter_bytes()
        except httpx.TimeoutException as error:
            raise TimedOut(
                f"{self.profile.org}'s node at {self.profile.url} gave no answer in time"
            ) from error
        except httpx.TransportError as error:
            raise NodeUnreachable(_unreachable(self.profile, error)) from error

    def _one_of(self, *roles: str) -> str:
        """Choose the first role for which the profile has a token."""
        return next((role for role in roles if role in self.profile.tokens), roles[0])

    def _authorization(self, role: str | None) -> dict[str, str]:
        if role is None:
            return {}
        token = self.profile.session or self.profile.tokens.get(role)
        if token is None and role == SESSION:
            raise Unauthenticated(
                f"expected a session in {self.profile.org}'s profile, found none: sign in first"
            )
        if token is None:
            held = ", ".join(sorted(self.profile.tokens)) or "none"
            raise Unauthenticated(
                f"expected a token for the role {role} in {self.profile.org}'s profile, "
                f"found tokens for: {held}"
            )
        return {"Authorization": f"Bearer {token}"}


def _body(answer: httpx.Response) -> object:
    try:
        return answer.json()
    except ValueError:
        return None


def _unreachable(profile: Profile, error: Exception) -> str:
    where = f"expected {profile.org}'s node at {profile.url}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{where}, got a server with another certificate than the one in the profile"
        if isinstance(cause, ssl.SSLError):
            return f"{where}, got a server that does not speak TLS 1.3 there"
        cause = cause.__cause__ or cause.__context__
    return f"{where}, got no connection ({error})"
