"""The OpenID provider of a node's organisation: its metadata and keys, and the two ends of a sign-in with it.

Authorization code with PKCE, state and nonce (OpenID Connect Core 1.0; RFC 7636; RFC 9207 where the provider
supports it). Everything goes over HTTPS to the issuer that the settings name; redirections are not followed.
What a sign-in began with travels sealed in the browser's cookie, so a callback that this browser did not
begin is refused; state is accepted once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

import httpx
from nacl.exceptions import CryptoError
from nacl.secret import Aead

from exchange.errors import ExchangeError
from exchange.node.people.id_token import (
    ALGORITHMS,
    LONGEST,
    ProviderRefused,
    UnknownKey,
    claims_of,
)

if TYPE_CHECKING:
    from exchange.node.people.id_token import SigningKey

__all__ = ["CALLBACK", "FLOW", "Provider", "ProviderSettings", "ProviderUnreachable"]

CALLBACK: Final = "/sign-in/provider/callback"

_KEPT: Final = timedelta(hours=1)
_AGAIN: Final = timedelta(seconds=30)  # at the earliest, for a key that is not known
FLOW: Final = timedelta(minutes=10)
_TIMEOUT_S: Final = 10.0
_LARGEST: Final = 1024 * 1024
_CONTEXT: Final = b"parley-oidc-flow/v1"


class ProviderUnreachable(ExchangeError):
    """The identity provider did not answer."""

    code = "provider.unreachable"
    blame = "nobody"
    retryable = True


@dataclass(frozen=True)
class ProviderSettings:
    """How this node and the provider know each other."""

    issuer: str
    client: str
    secret: str = field(repr=False)
    authority: Path | None
    public_url: str
    context_classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Metadata:
    authorization: str
    token: str
    keys: str
    end_session: str
    states_issuer: bool
    takes_basic: bool
    read: datetime


@dataclass(frozen=True)
class _Flow:
    state: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    ends: float


class Provider:
    """One provider; safe to use from several threads.

    Args:
        settings: see ``ProviderSettings``.
        key: 32 bytes that seal what a sign-in began with.
        clock: aware time in UTC.
    """

    def __init__(self, settings: ProviderSettings, key: bytes, clock: Callable[[], datetime]) -> None:
        context = ssl.create_default_context(
            cafile=None if settings.authority is None else str(settings.authority)
        )
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context = context
        self.settings, self._box, self._clock = settings, Aead(key), clock
        self._lock = threading.Lock()
        self._metadata: _Metadata | None = None
        self._keys: tuple[SigningKey, ...] = ()
        self._keys_read: datetime | None = None
        self._used: dict[str, float] = {}

    @property
    def issuer(self) -> str:
        """The issuer that the settings name."""
        return self.settings.issuer

    def begin(self) -> tuple[str, str]:
        """Begin a sign-in; returns where to send the browser, and what its cookie is to hold meanwhile.

        Raises:
            ProviderUnreachable, ProviderRefused: see ``_read_metadata``.
        """
        metadata = self._read_metadata()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
        asked = {
            "response_type": "code",
            "client_id": self.settings.client,
            "redirect_uri": self._redirect,
            "scope": "openid profile email",
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
        }
        if self.settings.context_classes:
            asked["acr_values"] = " ".join(self.settings.context_classes)
        flow = _Flow(state, nonce, verifier, (self._clock() + FLOW).timestamp())
        sealed = self._box.encrypt(json.dumps(asdict(flow)).encode(), _CONTEXT)
        joint = "&" if "?" in metadata.authorization else "?"
        return (
            f"{metadata.authorization}{joint}{urlencode(asked)}",
            base64.urlsafe_b64encode(bytes(sealed)).decode(),
        )

    def finish(self, answer: Mapping[str, str], cookie: str) -> Mapping[str, Any]:
        """Take the browser back from the provider; returns what the verified ID token says.

        Args:
            answer: the query of the callback.
            cookie: what ``begin`` gave this browser.

        Raises:
            ProviderRefused: this browser began no such sign-in, or anything about the answer is wrong.
            ProviderUnreachable: the provider did not answer.
        """
        flow, metadata = self._opened(cookie), self._read_metadata()
        if not hmac.compare_digest(answer.get("state", "").encode(), flow.state.encode()):
            raise ProviderRefused("expected the state of a sign-in that this browser began, got another")
        self._use(flow)
        stated = answer.get("iss")
        if (stated is not None or metadata.states_issuer) and stated != self.settings.issuer:
            raise ProviderRefused("expected an answer by the issuer of this sign-in, got one by another")
        if "error" in answer or not answer.get("code"):
            raise ProviderRefused("expected an authorization code, got an error of the provider")
        token = self._exchanged(metadata, answer["code"], flow)
        expected: dict[str, Any] = {
            "issuer": self.settings.issuer,
            "client": self.settings.client,
            "nonce": flow.nonce,
            "now": self._clock(),
        }
        try:
            return claims_of(token, self._signing_keys(metadata), **expected)
        except UnknownKey:
            return claims_of(token, self._signing_keys(metadata, anew=True), **expected)

    def end(self) -> str | None:
        """Return where to send a browser that is to sign out at the provider too; None: nowhere.

        Raises:
            ProviderUnreachable, ProviderRefused: see ``_read_metadata``.
        """
        metadata = self._read_metadata()
        if not metadata.end_session:
            return None
        asked = {
            "client_id": self.settings.client,
            "post_logout_redirect_uri": f"{self.settings.public_url}/sign-in",
        }
        joint = "&" if "?" in metadata.end_session else "?"
        return f"{metadata.end_session}{joint}{urlencode(asked)}"

    @property
    def _redirect(self) -> str:
        return self.settings.public_url + CALLBACK

    def _opened(self, cookie: str) -> _Flow:
        try:
            opened = self._box.decrypt(base64.urlsafe_b64decode(cookie.encode()), _CONTEXT)
        except (CryptoError, ValueError):
            raise ProviderRefused("expected a sign-in that this browser began, got none") from None
        flow = _Flow(**json.loads(opened))
        if self._clock().timestamp() >= flow.ends:
            raise ProviderRefused(f"expected a sign-in of at most {FLOW.seconds} s, got a longer one")
        return flow

    def _use(self, flow: _Flow) -> None:
        with self._lock:
            now = self._clock().timestamp()
            self._used = {state: ends for state, ends in self._used.items() if now < ends}
            if flow.state in self._used:
                raise ProviderRefused("expected each answer of the provider once, got it again")
            self._used[flow.state] = flow.ends

    def _exchanged(self, metadata: _Metadata, code: str, flow: _Flow) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect,
            "code_verifier": flow.verifier,
        }
        authorization: tuple[str, str] | None = None
        client, secret = self.settings.client, self.settings.secret
        if not secret:
            form["client_id"] = client
        elif metadata.takes_basic:
            authorization = (quote(client, safe=""), quote(secret, safe=""))  # RFC 6749, section 2.3.1
        else:
            form |= {"client_id": client, "client_secret": secret}
        found = self._asked("POST", metadata.token, data=form, auth=authorization)
        token = found.get("id_token")
        if not isinstance(token, str) or len(token) > LONGEST:
            raise ProviderRefused("expected an ID token for the authorization code, got none")
        return token

    def _read_metadata(self) -> _Metadata:
        """Read the provider's metadata, at most once an hour.

        Raises:
            ProviderUnreachable: it does not answer.
            ProviderRefused: it states another issuer, plain HTTP, or nothing that is strong enough.
        """
        with self._lock:
            known = self._metadata
        if known is not None and self._clock() - known.read < _KEPT:
            return known
        address = self.settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
        found = self._asked("GET", address)
        if found.get("issuer") != self.settings.issuer:
            raise ProviderRefused("expected metadata of the issuer in the settings, got another's")
        algorithms = found.get("id_token_signing_alg_values_supported", ["RS256"])
        if not isinstance(algorithms, list) or not set(map(str, algorithms)) & set(ALGORITHMS):
            raise ProviderRefused(f"expected a provider that signs with {' or '.join(ALGORITHMS)}")
        challenges = found.get("code_challenge_methods_supported", ["S256"])
        if not isinstance(challenges, list) or "S256" not in challenges:
            raise ProviderRefused("expected a provider that supports PKCE with S256")
        methods = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        metadata = _Metadata(
            authorization=_https(found, "authorization_endpoint"),
            token=_https(found, "token_endpoint"),
            keys=_https(found, "jwks_uri"),
            end_session=_https(found, "end_session_endpoint") if "end_session_endpoint" in found else "",
            states_issuer=found.get("authorization_response_iss_parameter_supported") is True,
            takes_basic=isinstance(methods, list) and "client_secret_basic" in methods,
            read=self._clock(),
        )
        with self._lock:
            self._metadata = metadata
        return metadata

    def _signing_keys(self, metadata: _Metadata, *, anew: bool = False) -> tuple[SigningKey, ...]:
        """Return the provider's keys, read at most once an hour, or every 30 s for one that is not known."""
        now = self._clock()
        with self._lock:
            age = None if self._keys_read is None else now - self._keys_read
            if age is not None and age < (_AGAIN if anew else _KEPT):
                return self._keys
        keys = _usable(self._asked("GET", metadata.keys))
        with self._lock:
            self._keys, self._keys_read = keys, now
        return keys

    def _asked(
        self,
        method: str,
        address: str,
        *,
        data: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
    ) -> Mapping[str, Any]:
        headers = {"Accept": "application/json"}
        http = httpx.Client(verify=self._context, timeout=_TIMEOUT_S, trust_env=False, follow_redirects=False)
        try:
            with http, http.stream(method, address, data=data, auth=auth, headers=headers) as answer:
                body = b""
                for part in answer.iter_bytes():
                    body += part
                    if len(body) > _LARGEST:
                        raise ProviderRefused(f"expected an answer of at most {_LARGEST} bytes, got more")
        except httpx.HTTPError as error:
            raise ProviderUnreachable(
                f"the identity provider did not answer: {type(error).__name__}"
            ) from error
        if answer.status_code >= 500:
            raise ProviderUnreachable(f"the identity provider answered with status {answer.status_code}")
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if answer.status_code != 200 or not isinstance(found, dict):
            where = urlsplit(address).path
            raise ProviderRefused(
                f"expected JSON at {where} of the provider, got status {answer.status_code}"
            )
        return found


def _usable(document: Mapping[str, Any]) -> tuple[SigningKey, ...]:
    """Return the keys of a key set that are for signatures: public, and of a kind that counts."""
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, KeySet, RSAKey

    listed = document.get("keys")
    if not isinstance(listed, list):
        raise ProviderRefused("expected the provider's keys, got something else")
    usable = [
        one
        for one in listed
        if isinstance(one, dict) and one.get("kty") in ("RSA", "EC") and one.get("use", "sig") == "sig"
    ]
    try:
        keys = KeySet.import_key_set({"keys": usable}).keys
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise ProviderRefused("expected keys that can be read from the provider, got others") from error
    return tuple(key for key in keys if isinstance(key, RSAKey | ECKey))


def _https(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
    if parts.scheme != "https" or not parts.hostname or parts.fragment or "@" in parts.netloc:
        raise ProviderRefused(f"expected {name} to be an https address, got something else")
    return str(value)
