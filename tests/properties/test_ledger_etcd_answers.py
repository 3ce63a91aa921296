"""Whatever an etcd server answers, the orderer returns what it should or raises an error of the ledger's."""

import base64
from typing import Any
from unittest.mock import patch

import httpx
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import LedgerError
from ledger.orderers import etcd
from ledger.orderers.etcd import EtcdOrderer

scalars = st.none() | st.booleans() | st.integers(-5, 2**70) | st.text(max_size=8)
b64 = st.binary(max_size=20).map(lambda raw: base64.b64encode(raw).decode())
kvs = st.lists(st.dictionaries(st.sampled_from(["key", "value", "x"]), b64 | scalars, max_size=3), max_size=3)
ranges = st.dictionaries(st.sampled_from(["kvs", "header", "more"]), kvs | scalars, max_size=3)
headers = st.dictionaries(st.just("revision"), scalars | st.just("7"), max_size=1)
responses = st.lists(
    st.dictionaries(st.just("response_range"), ranges | scalars, max_size=1) | scalars, max_size=3
)
answers = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=4
) | st.fixed_dictionaries(
    {},
    optional={
        "header": headers | scalars,
        "kvs": kvs | scalars,
        "more": st.just(False),
        "succeeded": st.booleans() | scalars,
        "responses": responses | scalars,
        "code": st.integers(0, 16) | scalars | st.lists(scalars, max_size=1),
        "error": scalars,
    },
)


class Gateway(httpx.BaseTransport):
    def __init__(self, status: int, answer: Any) -> None:
        self.status, self.answer = status, answer

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v3/maintenance/status":
            return httpx.Response(200, json={"version": "3.4.23"})
        return httpx.Response(self.status, json=self.answer)


@given(status=st.sampled_from([200, 200, 200, 400, 404, 429]), answer=answers)
def test_no_answer_raises_anything_else(status: int, answer: Any) -> None:
    client = httpx.Client(transport=Gateway(status, answer))
    with patch.object(etcd.httpx, "Client", return_value=client):
        orderer = EtcdOrderer(["http://etcd"], "net", patience_s=0.0)
    acts = (
        orderer.head,
        lambda: list(orderer.follow(0)),
        lambda: orderer.begin(3),
        lambda: orderer.trim(3),
        lambda: orderer.propose(0, b"batch", None),  # type: ignore[arg-type]
    )
    for act in acts:
        try:
            act()
        except LedgerError:
            continue
    orderer.close()
