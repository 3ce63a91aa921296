"""Every setting there is: name, form, value where none is given, and a sentence for the file and the page."""

from __future__ import annotations

import re

from exchange.config import kinds
from exchange.config.fields import Field
from exchange.config.oidc import OIDC_FIELDS
from exchange.config.people import PEOPLE_FIELDS

__all__ = [
    "DATASPACE",
    "HUB_FIELDS",
    "JOINING",
    "NODE_FIELDS",
    "OIDC",
    "TOGETHER",
    "WEBHOOK",
    "WITNESS_FIELDS",
    "Field",
]


_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_NET = re.compile(r"[a-z0-9][a-z0-9./-]{0,99}")
_ORIGIN = re.compile(r"[!-*,-~]{1,200}")
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_ORGANISATION = kinds.text("lower-case letters, digits and hyphens, at most 40", _NAME)
_NETWORK = kinds.text("lower-case letters, digits, dots, slashes and hyphens, at most 100", _NET)

_VERIFIERS = Field(
    "verify_processes",
    kinds.processes,
    1,
    "processes that check signatures beside the main one, started when there are many to check; 0: none",
)


def _tls_files(engine: str) -> tuple[Field, ...]:
    return (
        Field(
            f"{engine}_ca", kinds.path, None, f"file with the authority of the {engine} servers' certificates"
        ),
        Field(
            f"{engine}_certificate",
            kinds.path,
            None,
            f"file with the certificate shown to the {engine} servers",
        ),
        Field(f"{engine}_key", kinds.path, None, "file with its key, unencrypted and closed to others"),
    )


HUB_FIELDS: tuple[Field, ...] = (
    Field("net", _NETWORK, ..., "name of the network; part of every entry and of every cosigner's name"),
    Field(
        "origin",
        kinds.text("a name without spaces and plus signs", _ORIGIN),
        ...,
        "first line of every checkpoint: the log's address without its scheme",
    ),
    Field("member_bind", kinds.address, ..., "where members connect, with mutual TLS"),
    Field("operator_bind", kinds.address, ..., "where the operator's page is served; keep it on loopback"),
    Field(
        "public_url",
        kinds.https,
        None,
        "address under which outsiders reach the hub; with a host name, members get a did:web below it",
    ),
    Field(
        "database", kinds.database, "sqlite:///hub.sqlite", "database of the log and of the hub's own tables"
    ),
    Field(
        "witnesses",
        kinds.outside_copies,
        [],
        "outside witnesses that cosign final checkpoints; `parley hub add-witness` adds one",
    ),
    Field(
        "mirrors",
        kinds.outside_copies,
        [],
        "outside mirrors that hold all entries too; `parley hub add-witness` adds one",
    ),
    _VERIFIERS,
    Field(
        "etcd_endpoints",
        kinds.urls("https", "http"),
        [],
        "client addresses of every server of the etcd cluster that may order the ledger",
    ),
    *_tls_files("etcd"),
    Field(
        "nats_servers",
        kinds.urls("tls", "nats"),
        [],
        "client addresses of the NATS cluster that may order it",
    ),
    Field(
        "nats_monitors",
        kinds.urls("https", "http"),
        [],
        "monitoring addresses of every server of the NATS cluster; each must say that it syncs every write",
    ),
    *_tls_files("nats"),
)

NODE_FIELDS: tuple[Field, ...] = (
    Field("name", _ORGANISATION, ..., "short name of the organisation; assets are called <name>/<slug>"),
    Field(
        "title",
        kinds.text("a line of at most 200 characters", _PRINTABLE),
        ...,
        "full name of the organisation",
    ),
    Field("role", kinds.one_of("participant", "regulator"), "participant", "role in the consortium"),
    Field("net", _NETWORK, ..., "name of the network"),
    Field("api_bind", kinds.address, ..., "where people and programs of this organisation connect"),
    Field("party_bind", kinds.address, ..., "where other members' nodes connect for joint computations"),
    Field("party_endpoint", kinds.address, ..., "the address other members are told to connect to"),
    Field(
        "public_url",
        kinds.https,
        None,
        "address under which others reach api_bind; status lists are there, and with a host name a did:web",
    ),
    Field(
        "did_hosts",
        kinds.urls("https"),
        [],
        "web hosts whose DID documents (did:web) this node believes, by the public authorities' certificates",
    ),
    Field(
        "dataspace_bind",
        kinds.address,
        None,
        "where other members' Dataspace Protocol connectors connect; not given: this node has none",
    ),
    Field(
        "dataspace_url",
        kinds.https,
        None,
        "address under which they reach it; the node puts it into its member record",
    ),
    Field(
        "dataspace_guests",
        kinds.certificates,
        [],
        "certificates of connectors outside the consortium that may read this node's catalog",
    ),
    Field("hub_url", kinds.https, None, "address of the hub; set by joining"),
    Field("hub_certificate", kinds.certificate, None, "the hub's TLS certificate; set by joining"),
    Field("genesis", kinds.path, None, "file with the consortium's first entry; set by joining"),
    Field(
        "source_roots", kinds.paths, [], "folders from which data files may be read; nothing outside them is"
    ),
    Field(
        "api_hosts",
        kinds.addresses,
        [],
        "APIs that may be asked for data, as host:port; an address that is not public is listed as well",
    ),
    Field(
        "database",
        kinds.database,
        "sqlite:///node.sqlite",
        "database of this node and its copy of the ledger",
    ),
    Field(
        "computes_for_members",
        kinds.yes_or_no,
        True,
        "whether this node takes part in jobs that need a third party to compute, without data of its own",
    ),
    Field(
        "flower_python",
        kinds.path,
        None,
        "Python interpreter of an environment of its own that has flwr, for jobs that run Flower apps",
    ),
    Field(
        "flower_apps",
        kinds.path,
        "flower",
        "folder with the Flower apps that may run here, each in a file <SHA-256>.py",
    ),
    Field("max_clock_skew_s", kinds.seconds, 120, "largest difference to another member's clock, in seconds"),
    Field("connect_timeout_s", kinds.seconds, 30, "how long to wait for another party's node, in seconds"),
    Field(
        "step_timeout_s",
        kinds.seconds,
        600,
        "how long to wait for the other parties' part of a step, in seconds",
    ),
    Field(
        "final_timeout_s", kinds.seconds, 30, "how long to wait for a quorum to cosign an entry, in seconds"
    ),
    _VERIFIERS,
    *PEOPLE_FIELDS,
    Field(
        "webhook_url",
        kinds.web_hook,
        None,
        "the one address that this node calls when there is a notice for people; ids only, no data",
    ),
    Field(
        "webhook_certificate",
        kinds.certificate,
        None,
        "the one certificate accepted there; not given: one by the public authorities",
    ),
    Field("webhook_secret", kinds.path, None, "file with the secret, 32 bytes or more, that signs the calls"),
    *OIDC_FIELDS,
)

WITNESS_FIELDS: tuple[Field, ...] = (
    Field(
        "name",
        kinds.text("a name without spaces and plus signs", _ORIGIN),
        ...,
        "name of the witness's keys: its address without the scheme",
    ),
    Field("bind", kinds.address, ..., "where logs submit and everyone reads, over TLS"),
    Field("mirror", kinds.yes_or_no, False, "whether it holds the entries of its logs too"),
    Field(
        "database", kinds.database, "sqlite:///witness.sqlite", "database of what was cosigned and mirrored"
    ),
)

TOGETHER = (
    ("etcd_certificate", "etcd_key"),
    ("nats_certificate", "nats_key"),
    ("nats_servers", "nats_monitors"),
)
"""Settings of a hub of which one without the other says nothing."""

JOINING = ("hub_url", "hub_certificate", "genesis")
"""What joining sets: all three or none."""

OIDC = ("oidc_issuer", "oidc_client_id")
"""Settings of a node of which one without the other says nothing."""

WEBHOOK = ("webhook_url", "webhook_secret")
"""Settings of a node of which one without the other says nothing."""

DATASPACE = ("dataspace_bind", "dataspace_url")
"""A connector is bound and announced, or there is none."""
