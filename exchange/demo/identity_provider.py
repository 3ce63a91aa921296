"""An employer's OpenID provider, made up for the demonstration: one person, one client, on loopback.

Authorization code with PKCE, as OpenID Connect Core 1.0 and RFC 7636 have it, for the one sign-in that the
demonstration makes. It knows no logout, no consent and no second client; nobody should use it for more.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

from flask import Flask, Response, jsonify, request
from joserfc import jwt
from joserfc.jwk import RSAKey

from exchange.local.processes import free_ports
from exchange.tls import self_signed, server_context, to_pem
from exchange.web.server import Server
from ledger.times import system_clock

__all__ = ["CLIENT", "Employee", "IdentityProvider"]

CLIENT: Final = "parley"
_LIFETIME_S: Final = 60
_FORM: Final = (
    '<form method="post" action="/login">{hidden}'
    '<input name="name"><input name="password" type="password"><button>Sign in</button></form>'
)


@dataclass(frozen=True)
class Employee:
    """Who may sign in: a login, the subject and groups that the provider states, and a password made here."""

    name: str
    subject: str
    groups: tuple[str, ...]
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)


class IdentityProvider:
    """The provider. A context manager serves it.

    Attributes:
        issuer: its address.
        certificate: DER; ``ca`` is the same in PEM, for the settings of a node.
        redirect: the only address to which it sends anybody back; set before the first sign-in.
    """

    def __init__(self, employee: Employee) -> None:
        self.employee, self.redirect = employee, ""
        self.secret = secrets.token_urlsafe(24)
        [port] = free_ports(1)
        self.issuer = f"https://127.0.0.1:{port}"
        self._signing = RSAKey.generate_key(2048, {"kid": "demonstration", "use": "sig"})
        self._granted: dict[str, tuple[dict[str, str], float]] = {}
        private, self.certificate = self_signed("provider.demo", hosts=("127.0.0.1",), now=system_clock())
        context = server_context(private, self.certificate, None)
        self._server = Server(self._application(), f"127.0.0.1:{port}", context, threads=4)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    def settings(self, folder: Path) -> dict[str, object]:
        """Write the client's secret and the certificate below ``folder``; return a node's settings."""
        secret, ca = folder / "provider.secret", folder / "provider.pem"
        secret.touch(mode=0o600)
        secret.write_text(self.secret, encoding="utf-8")
        ca.write_bytes(to_pem(self.certificate))
        return {
            "oidc_issuer": self.issuer,
            "oidc_client_id": CLIENT,
            "oidc_client_secret": str(secret),
            "oidc_ca": str(ca),
            "oidc_second_factor": ["amr=mfa"],
        }

    def _application(self) -> Flask:
        app = Flask("exchange.demo.identity_provider", static_folder=None)
        metadata = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        keys = {"keys": [self._signing.as_dict(private=False)]}
        app.add_url_rule("/.well-known/openid-configuration", "metadata", lambda: jsonify(metadata))
        app.add_url_rule("/keys", "keys", lambda: jsonify(keys))
        app.add_url_rule("/authorize", "authorize", self._authorize)
        app.add_url_rule("/login", "login", self._log_in, methods=["POST"])
        app.add_url_rule("/token", "token", self._token, methods=["POST"])
        return app

    def _authorize(self) -> Response:
        """Ask for name and password; what was asked for goes along in the form."""
        asked = {name: request.args.get(name, "") for name in ("state", "nonce", "code_challenge")}
        wanted = (CLIENT, self.redirect, "code", "S256")
        names = ("client_id", "redirect_uri", "response_type", "code_challenge_method")
        if tuple(request.args.get(name) for name in names) != wanted or not all(
            value.replace("-", "").replace("_", "").isalnum() for value in asked.values()
        ):
            return Response("expected the registered client, its address, code and S256", 400)
        hidden = "".join(f'<input type="hidden" name="{key}" value="{asked[key]}">' for key in asked)
        return Response(_FORM.format(hidden=hidden), content_type="text/html")

    def _log_in(self) -> Response:
        given, employee = request.form, self.employee
        knows = hmac.compare_digest(given.get("password", "").encode(), employee.password.encode())
        if given.get("name") != employee.name or not knows:
            return Response("wrong name or password", 403)
        code = secrets.token_urlsafe(32)
        self._granted[code] = (given.to_dict(), time.monotonic() + _LIFETIME_S)
        answer = {"code": code, "state": given["state"], "iss": self.issuer}
        return Response(status=303, headers={"Location": f"{self.redirect}?{urlencode(answer)}"})

    def _token(self) -> Response:
        client = request.authorization
        if client is None or (client.username, client.password) != (CLIENT, self.secret):
            return _refusal("invalid_client", 401)
        asked, until = self._granted.pop(request.form.get("code", ""), ({}, 0.0))
        proof = hashlib.sha256(request.form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(proof).rstrip(b"=").decode()
        if time.monotonic() > until or challenge != asked["code_challenge"]:
            return _refusal("invalid_grant", 400)
        now, employee = int(time.time()), self.employee
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": employee.subject,
            "groups": list(employee.groups),
            "amr": ["pwd", "mfa"],
            "nonce": asked["nonce"],
            "iat": now,
            "exp": now + _LIFETIME_S,
        }
        token = jwt.encode({"alg": "RS256", "kid": "demonstration"}, claims, self._signing)
        kind = {"token_type": "Bearer"}
        return jsonify(access_token=secrets.token_urlsafe(32), id_token=token, **kind)


def _refusal(error: str, status: int) -> Response:
    answer = jsonify(error=error)
    answer.status_code = status
    return answer
