"""An API connector asks only what the operator lists, where it really is, and tells nobody the password."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence

import pytest

from connectors import (
    ConnectorError,
    HostNotAllowed,
    InvalidSource,
    SourceSpec,
    SourceUnreachable,
    open_source,
)
from connectors.api import ApiConnector
from connectors.api_client import Clock
from connectors.api_hosts import Hosts, parse_api_url
from connectors.api_options import ApiOptions
from connectors.testing_api import Answer, JsonApi

CANARY = "canary-4a7f"
COLUMNS = [{"name": "person", "type": "text"}]
IMPATIENT = {"limits": {"attempts": 1}}
SCHEMES = (
    {"scheme": "bearer", "token": CANARY},
    {"scheme": "header", "name": "X-Key", "value": CANARY},
    {"scheme": "basic", "user": "steward", "password": CANARY},
)


def connector(
    url: str, listed: Sequence[str], resolve: Callable[[str, int], Sequence[str]], **options: object
) -> ApiConnector:
    described = ApiOptions.parse({"columns": COLUMNS, **IMPATIENT, **options})
    return ApiConnector(url, described, Hosts(listed, resolve), Clock(sleep=lambda _: None))


def unresolved(host: str, _: int) -> Sequence[str]:
    raise AssertionError(f"{host} was looked up")


def rows(source: ApiConnector) -> list[object]:
    return [row for batch in source.batches(["person"]) for row in batch.to_pylist()]


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example/rows",
        "https://api.example:8443/rows",
        "https://api.example.:444/rows",
        "https://notapi.example:443/rows",
        "https://api.example.evil:443/rows",
        "https://127.0.0.1/rows",
        "https://2130706433/rows",
        "https://0x7f000001/rows",
        "https://0177.0.0.1/rows",
        "https://[::1]/rows",
        "https://[::ffff:127.0.0.1]/rows",
        "https://169.254.169.254/latest/meta-data",
        "http://api.example:443/rows",
    ],
)
def test_a_host_that_is_not_listed_is_refused_before_it_is_looked_up(url: str) -> None:
    listed = ["other.example:443", "api.example:80"]
    with pytest.raises(HostNotAllowed):
        connector(url, listed, unresolved)


def test_without_a_list_no_host_is_asked() -> None:
    spec = SourceSpec("api", "https://api.example/rows", options={"columns": COLUMNS})
    with pytest.raises(HostNotAllowed, match="api_hosts lists"):
        open_source(spec, roots=[])


def test_without_encryption_only_this_machine_is_asked() -> None:
    with pytest.raises(HostNotAllowed, match="expected https"):
        connector("http://api.example/rows", ["api.example:80"], unresolved)
    connector("http://127.0.0.1:8080/rows", ["127.0.0.1:8080"], unresolved)
    connector("http://[::1]:8080/rows", ["[::1]:8080"], unresolved)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://api.example/rows",
        "file:///etc/passwd",
        "gopher://api.example:70/",
        "https:///rows",
        "api.example/rows",
        f"https://steward:{CANARY}@api.example/rows",
        "https://api.example@evil.example/rows",
        "https://api.example\\@evil.example/rows",
        "https://api.example/rows#part",
        "https://api.example:0/rows",
        "https://api.example:99999/rows",
        "https://api.example/ro ws",
        "https://api.example/rows\r\nHost: evil",
        "https://api.exämple/rows",
        "https://[::1/rows",
    ],
)
def test_an_address_of_another_form_is_refused_unquoted(url: str) -> None:
    with pytest.raises(InvalidSource) as caught:
        SourceSpec("api", url, options={"columns": COLUMNS})
    assert CANARY not in str(caught.value)
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",  # noqa: S104
        "10.0.0.5",
        "172.16.3.4",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "192.0.0.192",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "ff02::1",
        "fec0::1",
        "::7f00:1",
        "64:ff9b:1::7f00:1",
        "::ffff:10.0.0.5",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ],
)
def test_a_listed_name_at_an_address_that_is_not_public_is_refused(address: str) -> None:
    source = connector("https://api.example/rows", ["api.example:443"], lambda *_: ["93.184.216.34", address])
    with pytest.raises(HostNotAllowed, match="public addresses"):
        rows(source)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_public_addresses_pass(address: str) -> None:
    hosts = Hosts(["api.example:443"], lambda *_: [address])
    assert hosts.addresses(parse_api_url("https://API.example/rows")) == (address,)


def test_an_operator_may_list_a_private_address_for_one_port() -> None:
    hosts = Hosts(["api.example:8443", "10.0.0.5:8443"], lambda *_: ["10.0.0.5"])
    assert hosts.addresses(parse_api_url("https://api.example:8443/")) == ("10.0.0.5",)
    other = Hosts(["api.example:8443", "10.0.0.5:443"], lambda *_: ["10.0.0.5"])
    with pytest.raises(HostNotAllowed):
        other.addresses(parse_api_url("https://api.example:8443/"))


def test_a_name_that_resolves_to_nothing_is_unreachable() -> None:
    with pytest.raises(SourceUnreachable, match="no address"):
        rows(connector("https://api.example/rows", ["api.example:443"], lambda *_: []))


def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """A name server that answers otherwise the second time (rebinding) is not asked a second time."""
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    pages = [Answer([{"person": "a"}], headers={"Link": '</rows?2>; rel="next"'}), Answer([{"person": "b"}])]
    with JsonApi(lambda _: pages.pop(0)) as api:
        port = api.place.rpartition(":")[2]
        source = connector(
            f"https://api.example:{port}/rows",
            [f"api.example:{port}", api.place],
            lambda *_: answers.pop(0),
            ca=api.ca,
            paging={"style": "link"},
        )
        assert rows(source) == [{"person": "a"}, {"person": "b"}]
        assert [asked.headers["Host"] for asked in api.asked] == [f"api.example:{port}"] * 2
    assert answers == [["169.254.169.254"]]


def test_the_certificate_is_checked_against_the_name() -> None:
    with JsonApi(lambda _: Answer([])) as api:
        port = api.place.rpartition(":")[2]
        listed = [f"other.example:{port}", api.place]
        for url, ca in ((f"https://other.example:{port}/", api.ca), (f"{api.url}/", None)):
            with pytest.raises(SourceUnreachable, match="ConnectError"):
                rows(connector(url, listed, lambda *_: ["127.0.0.1"], **({"ca": ca} if ca else {})))
        assert api.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 200])
def test_neither_a_redirect_nor_a_link_leads_to_another_server(status: int) -> None:
    with JsonApi(lambda _: Answer([{"person": "stolen"}]), tls=False) as other:
        for target in (other.url, f"//{other.place}/x", "http://169.254.169.254/", "file:///etc/passwd"):
            headers = {"Link": f'<{target}>; rel="next"'} if status == 200 else {"Location": target}
            answer = Answer([{"person": "a"}], status, headers)
            with JsonApi(lambda _, answer=answer: answer, tls=False) as api:
                source = connector(
                    f"{api.url}/rows",
                    [api.place, other.place],
                    lambda *_: ["127.0.0.1"],
                    auth=SCHEMES[0],
                    paging={"style": "link"},
                )
                with pytest.raises(SourceUnreachable, match="another server"):
                    rows(source)
        assert other.asked == []


def test_a_redirect_at_the_same_server_is_followed_for_a_while() -> None:
    def answer(asked: object) -> Answer:
        return Answer("", 302, {"Location": "/rows"}) if asked.path != "/rows" else Answer([])  # type: ignore[attr-defined]

    with JsonApi(answer, tls=False) as api:
        assert rows(connector(f"{api.url}/old", [api.place], lambda *_: ["127.0.0.1"])) == []
    with JsonApi(lambda _: Answer("", 302, {"Location": "/again"}), tls=False) as api:
        with pytest.raises(SourceUnreachable, match="more than 3 redirects"):
            rows(connector(f"{api.url}/old", [api.place], lambda *_: ["127.0.0.1"]))
        assert len(api.asked) == 4


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "answer",
    [
        Answer("no", 401),
        Answer("busy", 503),
        Answer(b"not JSON"),
        Answer([{"person": CANARY * 2 + "x", "other": 1}, {"person": 7}]),
        Answer("", 302, {"Location": f"https://{CANARY}@evil.example/"}),
        Answer(b"", headers={"Content-Encoding": "br"}),
        None,
    ],
)
def test_credentials_are_in_no_error_repr_or_log(
    scheme: dict[str, str], answer: Answer | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with JsonApi(lambda _: answer or Answer([]), tls=False) as api:
        url, listed = f"{api.url}/rows?key={CANARY}", [api.place]
        options = {"columns": COLUMNS, "auth": scheme, **IMPATIENT}
        spec = SourceSpec("api", url, options=options)
        source = open_source(spec, roots=[], hosts=listed)
        if answer is not None:
            with pytest.raises(ConnectorError) as caught:
                rows(source)  # type: ignore[arg-type]
    if answer is None:
        with pytest.raises(ConnectorError) as caught:
            rows(source)  # type: ignore[arg-type]
    frames = traceback.format_exception(caught.value)
    seen = "".join(frames) + repr(caught.value) + repr(vars(caught.value)) + repr(spec) + repr(source)
    assert CANARY not in seen + repr(ApiOptions.parse(spec.options)) + spec.display
    assert CANARY not in caplog.text
