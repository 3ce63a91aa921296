"""What an ID token must be before anybody is let in on its word (OpenID Connect Core 1.0, section 3.1.3.7).

Only signatures of the algorithms named here count, by keys that the provider publishes for signing: a token
without a signature, or one "signed" with a public key as a shared secret, is refused before anything in it is
read. The rest must say: from this provider, for this node, for this sign-in, now.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from exchange.errors import ExchangeError

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, RSAKey

    SigningKey = RSAKey | ECKey

__all__ = ["ALGORITHMS", "ProviderRefused", "UnknownKey", "claims_of", "key_id"]

ALGORITHMS: Final = ("RS256", "PS256", "ES256")
LONGEST: Final = 64 * 1024
_LEEWAY_S: Final = 60
_OLDEST_S: Final = 600  # since it was issued: a sign-in takes no longer


class ProviderRefused(ExchangeError):
    """The identity provider's answer is not one on which somebody may be let in."""

    code = "provider.refused"
    blame = "peer"


class UnknownKey(ProviderRefused):
    """The token names a key that the provider did not publish when its keys were read."""

    code = "provider.unknown-key"


def key_id(token: str) -> str | None:
    """Return the name of the key that a token says it is signed with.

    Raises:
        ProviderRefused: it is no signed token, or of an algorithm that does not count.
    """
    from joserfc import jws
    from joserfc.errors import JoseError

    try:
        header = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError) as error:
        raise ProviderRefused("expected a signed ID token, got something else") from error
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise ProviderRefused(
            f"expected an ID token signed with {' or '.join(ALGORITHMS)}, got another algorithm"
        )
    if kid is not None and not isinstance(kid, str):
        raise ProviderRefused("expected the name of a key in the ID token, got something else")
    return kid


def claims_of(
    token: str, keys: Sequence[SigningKey], *, issuer: str, client: str, nonce: str, now: datetime
) -> Mapping[str, Any]:
    """Verify an ID token and return what it says.

    Args:
        token: as the provider sent it.
        keys: those that the provider publishes for signing.
        issuer: the one that this node is set to.
        client: under which name the provider knows this node.
        nonce: what this sign-in began with.
        now: the present time.

    Raises:
        UnknownKey: its key is not among ``keys``.
        ProviderRefused: anything in it is not as it must be; the message says what.
    """
    from joserfc import jwt
    from joserfc.errors import JoseError

    kid = key_id(token)
    named = [key for key in keys if kid is None or key.kid == kid]
    if len(named) != 1:
        raise UnknownKey("expected an ID token by exactly one of the provider's keys, got another")
    try:
        decoded = jwt.decode(token, named[0], algorithms=ALGORITHMS)
        registry = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": issuer},
            sub={"essential": True},
            aud={"essential": True, "value": client},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True},
        )
        registry.validate(decoded.claims)
    except (JoseError, ValueError, TypeError) as error:
        raise ProviderRefused(
            f"expected an ID token that is good here and now, got one that is not: {_why(error)}"
        ) from error
    claims = decoded.claims
    _check_party(claims, client)
    issued, expires = claims["iat"], claims["exp"]
    if not isinstance(issued, int | float) or not isinstance(expires, int | float):
        raise ProviderRefused("expected times in the ID token, got something else")
    if now.timestamp() - issued > _OLDEST_S:
        raise ProviderRefused(f"expected an ID token issued in the last {_OLDEST_S} s, got an older one")
    if not isinstance(claims["nonce"], str) or not hmac.compare_digest(
        claims["nonce"].encode(), nonce.encode()
    ):
        raise ProviderRefused("expected the nonce of this sign-in in the ID token, got another")
    return dict(claims)


def _check_party(claims: Mapping[str, Any], client: str) -> None:
    audience, party = claims["aud"], claims.get("azp")
    if isinstance(audience, list) and len(audience) > 1 and party is None:
        raise ProviderRefused("expected the authorized party of an ID token for several audiences, got none")
    if party is not None and party != client:
        raise ProviderRefused("expected this node as authorized party of the ID token, got another")


def _why(error: Exception) -> str:
    claim = getattr(error, "claim", None)
    return f"claim {claim}" if isinstance(claim, str) else type(error).__name__
