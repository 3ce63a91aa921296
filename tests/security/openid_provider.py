"""A small OpenID provider over HTTPS, for tests: honest by default, hostile where it is told to be.

A program of its own: ``python openid_provider.py KEY CERTIFICATE PORT CLIENT SECRET REDIRECT`` serves until
its standard input ends. ``/test/be`` sets who is signed in there and how the next answers lie.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

from flask import Flask, Response, jsonify, redirect, request
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from exchange.tls import server_context
from exchange.web.server import Server

LIFETIME_S = 60


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


class Provider:
    """The provider's state."""

    def __init__(self, issuer: str, client: str, secret: str, redirect_uri: str) -> None:
        self.issuer, self.client, self.secret, self.redirect = issuer, client, secret, redirect_uri
        self.keys = {"first": RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})}
        self.stranger = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})
        self.signing, self.lie = "first", ""
        self.person: dict[str, Any] = {"sub": "nobody"}
        self.codes: dict[str, dict[str, Any]] = {}
        self.key_reads = self.token_requests = 0

    def metadata(self) -> dict[str, Any]:
        issuer = self.issuer + "/other" if self.lie == "metadata-issuer" else self.issuer
        scheme = self.issuer.replace("https", "http") if self.lie == "plain-http" else self.issuer
        return {
            "issuer": issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{scheme}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "end_session_endpoint": f"{self.issuer}/end",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["HS256"] if self.lie == "weak" else ["RS256", "ES256"],
            "code_challenge_methods_supported": ["plain"] if self.lie == "no-pkce" else ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }

    def public_keys(self) -> dict[str, Any]:
        self.key_reads += 1
        listed = [key.as_dict(private=False) for key in self.keys.values()]
        if self.lie == "shared-key-published":
            listed.append({"kty": "oct", "kid": "shared", "k": base64.urlsafe_b64encode(b"k" * 32).decode()})
        return {"keys": listed}

    def authorize(self) -> Response:
        asked = request.args
        if asked["client_id"] != self.client or asked["redirect_uri"] != self.redirect:
            return Response("unknown client or redirect_uri", 400)
        if asked["response_type"] != "code" or "openid" not in asked["scope"].split():
            return Response("unsupported", 400)
        if asked.get("code_challenge_method") != "S256":
            return Response("PKCE is required", 400)
        code = secrets.token_urlsafe(32)
        self.codes[code] = {
            "asked": asked.to_dict(),
            "person": self.person,
            "until": time.time() + LIFETIME_S,
        }
        answer = {"code": code, "state": asked["state"], "iss": self.issuer}
        if self.lie == "state":
            answer["state"] = secrets.token_urlsafe(32)
        if self.lie == "mix-up":
            answer["iss"] = "https://another.example"
        if self.lie == "no-iss":
            del answer["iss"]
        if self.lie == "denied":
            answer = {"error": "access_denied", "state": asked["state"], "iss": self.issuer}
        return Response(status=302, headers={"Location": f"{self.redirect}?{urlencode(answer)}"})

    def token(self) -> Response:
        self.token_requests += 1
        if self.lie == "down":
            return Response("down", 503)
        if self.lie == "huge":
            return Response(b"[" + b"1," * 1024 * 1024, content_type="application/json")
        given = request.authorization
        client = None if given is None else (unquote(given.username or ""), unquote(given.password or ""))
        if client != (self.client, self.secret):
            return Response(json.dumps({"error": "invalid_client"}), 401, content_type="application/json")
        held = self.codes.pop(request.form["code"], None)
        challenge = hashlib.sha256(request.form["code_verifier"].encode()).digest()
        if (
            held is None
            or time.time() > held["until"]
            or request.form["redirect_uri"] != held["asked"]["redirect_uri"]
            or base64.urlsafe_b64encode(challenge).rstrip(b"=").decode() != held["asked"]["code_challenge"]
        ):
            return Response(json.dumps({"error": "invalid_grant"}), 400, content_type="application/json")
        token = self.id_token(held["person"], held["asked"]["nonce"])
        return jsonify(access_token=secrets.token_urlsafe(32), token_type="Bearer", id_token=token)

    def id_token(self, person: dict[str, Any], nonce: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": self.client,
            "iat": now,
            "exp": now + LIFETIME_S,
            "nonce": nonce,
            **person,
        }
        key, header = self.keys[self.signing], {"alg": "RS256", "kid": self.signing}
        if isinstance(key, ECKey):
            header["alg"] = "ES256"
        changes: dict[str, dict[str, Any]] = {
            "nonce": {"nonce": secrets.token_urlsafe(32)},
            "issuer": {"iss": "https://another.example"},
            "audience": {"aud": "another-client"},
            "audiences": {"aud": [self.client, "another-client"]},
            "party": {"aud": [self.client, "another-client"], "azp": "another-client"},
            "lone-party": {"azp": "another-client"},
            "expired": {"iat": now - 300, "exp": now - 120},
            "old": {"iat": now - 3600},
            "future": {"iat": now + 3600, "exp": now + 7200},
            "text-time": {"exp": str(now + LIFETIME_S)},
            "good-party": {"aud": [self.client, "another-client"], "azp": self.client},
        }
        claims |= changes.get(self.lie, {})
        for claim in ("nonce", "sub", "aud", "exp", "iat"):
            if self.lie == f"no-{claim}":
                del claims[claim]
        if self.lie == "none":
            return f"{encoded({'alg': 'none'})}.{encoded(claims)}."
        if self.lie == "hs256":
            return self.shared(claims, key.as_pem(private=False))
        if self.lie == "shared-key-published":
            return self.shared(claims, b"k" * 32, "shared")
        if self.lie == "stranger":
            key = self.stranger
        if self.lie == "unknown-key":
            header["kid"] = "never-published"
        token = jwt.encode(header, claims, key)
        if self.lie == "altered":
            head, _, signature = token.split(".")
            return f"{head}.{encoded(claims | {'sub': 'ada-at-provider'})}.{signature}"
        return "not-a-token" if self.lie == "no-token" else token

    def shared(self, claims: dict[str, Any], key: bytes, kid: str = "first") -> str:
        signed = f"{encoded({'alg': 'HS256', 'kid': kid})}.{encoded(claims)}"
        mac = hmac.digest(key, signed.encode(), "sha256")
        return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    def be(self) -> Response:
        told = request.get_json()
        self.person, self.lie = told.get("person", self.person), told.get("lie", "")
        if told.get("rotate"):
            name = secrets.token_hex(4)
            self.keys = {name: ECKey.generate_key("P-256", {"kid": name, "use": "sig"})}
            self.signing = name
        return jsonify(key_reads=self.key_reads, token_requests=self.token_requests)


def application(provider: Provider) -> Flask:
    app = Flask("openid_provider", static_folder=None)
    app.add_url_rule("/.well-known/openid-configuration", "metadata", lambda: jsonify(provider.metadata()))
    app.add_url_rule("/keys", "keys", lambda: jsonify(provider.public_keys()))
    app.add_url_rule("/authorize", "authorize", provider.authorize)
    app.add_url_rule("/token", "token", provider.token, methods=["POST"])
    app.add_url_rule("/end", "end", lambda: redirect(request.args["post_logout_redirect_uri"]))
    app.add_url_rule("/test/be", "be", provider.be, methods=["POST"])
    return app


def main(key: str, certificate: str, port: str, client: str, secret: str, redirect_uri: str) -> None:
    provider = Provider(f"https://127.0.0.1:{port}", client, secret, redirect_uri)
    context = server_context(Path(key).read_bytes(), Path(certificate).read_bytes(), None)
    with Server(application(provider), f"127.0.0.1:{port}", context, threads=8):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        done = threading.Thread(target=sys.stdin.read)
        done.start()
        done.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
