"""Who calls: members by their TLS certificate, as the ledger's state has them at this moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from exchange.errors import Forbidden
from ledger import base64url
from ledger.tables import State, Table

__all__ = ["Members"]

_MAY_CONNECT = ("active", "admitted")


class Members:
    """Certificates of those who may connect: active members, and admitted ones that are yet to acknowledge.

    Thread-safe. The decoded certificates are kept until the members' table is another one, because the TLS
    layer asks at every request.
    """

    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._seen: Table | None = None
        self._dids: Mapping[bytes, str] = {}

    def certificates(self) -> list[bytes]:
        """DER certificates that may connect now."""
        return list(self._by_certificate())

    def by_certificate(self, certificate: bytes | None) -> str:
        """The DID of the member that shows this certificate.

        Raises:
            Forbidden: no member does.
        """
        did = None if certificate is None else self._by_certificate().get(certificate)
        if did is None:
            raise Forbidden("expected the certificate of a member of this consortium, got another one")
        return did

    def _by_certificate(self) -> Mapping[bytes, str]:
        table = self._state().rows("members")
        with self._lock:
            if table is not self._seen:
                self._dids = {
                    base64url.decode(row["tls"]): did
                    for did, row in table.items()
                    if row["status"] in _MAY_CONNECT
                }
                self._seen = table
            return self._dids
