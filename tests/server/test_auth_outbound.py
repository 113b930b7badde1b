"""The SSRF guard: what may be reached, and that what was checked is what is connected to."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketStream
from hypothesis import given
from hypothesis import strategies as st

from awaken.net.addresses import is_public, unwrapped
from awaken.net.fetch import Fetcher, Unreachable
from awaken.net.guard import Forbidden, Guard, Resolve, parse_exception

PUBLIC = "93.184.215.14"


def names(**addresses: str | Sequence[str]) -> Resolve:
    """A resolver that knows these names (`_` is a dot), and what is an address already."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        found = addresses.get(host.replace(".", "_"))
        if found is None:
            try:
                return [str(ipaddress.ip_address(host))]
            except ValueError:
                raise OSError("no such name") from None
        return [found] if isinstance(found, str) else found

    return resolve


def guard(*allowed: str, **addresses: str | Sequence[str]) -> Guard:
    return Guard(allowed, resolve=names(**addresses))


# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_what_only_a_server_inside_can_reach_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", PUBLIC, "172.15.0.1", "172.32.0.1", "2606:4700::1", "::ffff:1.1.1.1"],
)
def test_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses())
def test_nothing_that_python_knows_to_be_special_is_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    real = unwrapped(address)
    special = (
        real.is_private or real.is_loopback or real.is_link_local or real.is_multicast
    ) or real.is_reserved
    assert not (special and is_public(address))


# --- URLs ----------------------------------------------------------------------------------------


async def test_a_public_https_url_leads_to_its_addresses() -> None:
    target = await guard(example_com=[PUBLIC, "2606:4700::1"]).check("https://example.com/a?b=1")
    assert (target.scheme, target.host, target.port) == ("https", "example.com", 443)
    assert target.path == "/a?b=1"
    assert target.addresses == (PUBLIC, "2606:4700::1")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://example.com:8443/",
        "https://example.com:22/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "https://",
        "https:///path",
        "//example.com/",
        "example.com",
        "https://user:pw@example.com/",
        "https://example.com@127.0.0.1/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "https://inside/",
        "https://mixed/",
        "https://unknown/",
        "https://nothing/",
        "https://example.com:99999/",
        "https://example.com/a b",
        "https://example.com/\r\nhost: x",
        "https://example.com\\@127.0.0.1/",
        "https://exämple.com/",
        "https://example.com/" + "x" * 2048,
        "https://[::1",
    ],
)
async def test_other_urls_are_refused_and_the_refusal_tells_no_address(url: str) -> None:
    checked = guard(example_com=PUBLIC, inside="10.1.2.3", mixed=[PUBLIC, "127.0.0.1"], nothing=())
    with pytest.raises(Forbidden) as caught:
        await checked.check(url)
    assert caught.value.code == "url_forbidden"
    for address in ("10.1.2.3", "127.0.0.1", "::1"):
        assert address not in caught.value.message


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "localhost"])
async def test_other_spellings_of_this_machine_are_refused(host: str) -> None:
    with pytest.raises(Forbidden):
        await Guard().check(f"https://{host}/")


async def test_what_the_operator_allows_may_be_reached() -> None:
    allowing = guard(
        "idp.internal", "db:8443", "10.1.0.0/16", idp_internal="10.9.9.9", db="10.9.9.8"
    )
    assert (await allowing.check("http://idp.internal:8080/")).addresses == ("10.9.9.9",)
    assert (await allowing.check("https://db:8443/")).port == 8443
    assert (await allowing.check("http://10.1.2.3/")).port == 80
    for url in ("https://db/", "https://10.2.0.1/", "https://10.9.9.9/", "ftp://idp.internal/"):
        with pytest.raises(Forbidden):
            await allowing.check(url)


@pytest.mark.parametrize("text", ["", "http://x", "a/b", "*.example.com", "u@h", "x:y:z:w"])
def test_an_exception_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected host, host:port or a network"):
        parse_exception(text)


# --- fetching ------------------------------------------------------------------------------------

Answers = Callable[[bytes], bytes]


@asynccontextmanager
async def site(answer: Answers) -> AsyncIterator[int]:
    """A web server on a loopback port that gives `answer` of each request head; its port."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive()
            try:
                await stream.send(answer(head))
                if answer is hang:
                    await anyio.sleep_forever()
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, serve)
            yield port
            tasks.cancel_scope.cancel()


def page(body: bytes, status: bytes = b"200 OK", *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *headers, b"", body]
    return b"\r\n".join(lines)


def hang(_: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"


async def test_the_checked_address_is_connected_to_and_the_name_is_asked_for() -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        """The first look is harmless, the second one is not: rebinding."""
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    heads: list[bytes] = []

    def answer(head: bytes) -> bytes:
        heads.append(head)
        return page(b'{"keys": []}')

    async with site(answer) as port:
        fetcher = Fetcher(Guard([f"idp.example:{port}"], resolve=resolve))
        got = await fetcher.get(f"http://idp.example:{port}/jwks?x=1", {"accept": "text/plain"})
    assert (got.status, got.body) == (200, b'{"keys": []}')
    assert asked == ["idp.example"], "resolved once"
    assert heads[0].startswith(b"GET /jwks?x=1 HTTP/1.1\r\n")
    assert f"host: idp.example:{port}\r\n".encode() in heads[0].lower()
    assert b"accept: text/plain" in heads[0].lower()


async def test_a_redirect_passes_the_guard_again_without_credentials() -> None:
    heads: list[bytes] = []

    def answer(head: bytes) -> bytes:
        heads.append(head)
        path = head.split(b" ")[1]
        if path == b"/to-inside":
            return page(b"", b"302 Found", b"location: https://169.254.169.254/latest/")
        if path == b"/to-other":
            return page(b"", b"302 Found", b"location: http://other.example:%d/end" % here)
        if path == b"/for-ever":
            return page(b"", b"302 Found", b"location: /for-ever")
        return page(b"end")

    async with site(answer) as here:
        resolver = names(one_example="127.0.0.1", other_example="127.0.0.1")
        allowed = ["one.example", "other.example"]
        fetcher = Fetcher(Guard(allowed, resolve=resolver))
        base = f"http://one.example:{here}"
        with pytest.raises(Forbidden):
            await fetcher.get(f"{base}/to-inside")
        with pytest.raises(Unreachable, match="more than 3 redirects"):
            await fetcher.get(f"{base}/for-ever")
        heads.clear()
        got = await fetcher.get(f"{base}/to-other", {"authorization": "Bearer x"})
        posted = await fetcher.post(f"{base}/to-other", b"hook")
    assert got.body == b"end"
    assert b"authorization" in heads[0].lower()
    assert b"authorization" not in heads[1].lower()
    assert posted.status == 302, "a POST is not sent on"


async def test_an_answer_has_limits_of_size_and_time() -> None:
    async with site(lambda _: page(b"x" * 2000)) as port:
        fetcher = Fetcher(Guard(["127.0.0.1"]), max_bytes=1000)
        with pytest.raises(Unreachable, match="more than 1000 bytes"):
            await fetcher.get(f"http://127.0.0.1:{port}/")
    async with site(hang) as port:
        fetcher = Fetcher(Guard(["127.0.0.1"]), seconds=0.2)
        with pytest.raises(Unreachable, match="no answer within"):
            await fetcher.get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", b"nonsense"]
)
async def test_what_is_no_answer_is_unreachable(answer: bytes) -> None:
    async with site(lambda _: answer) as port:
        with pytest.raises(Unreachable):
            await Fetcher(Guard(["127.0.0.1"])).get(f"http://127.0.0.1:{port}/")


async def test_where_nobody_listens_is_unreachable() -> None:
    async with site(hang) as port:
        pass
    with pytest.raises(Unreachable, match="ConnectError"):
        await Fetcher(Guard(["127.0.0.1"])).get(f"http://127.0.0.1:{port}/")


async def test_tls_is_for_the_name_that_was_asked_for() -> None:
    """The other side does not speak TLS: what matters is that we began to, and gave up."""
    first: list[bytes] = []

    async def serve(stream: SocketStream) -> None:
        async with stream:
            first.append(await stream.receive())

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, serve)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        resolver = names(idp_example="127.0.0.1")
        checked = Guard(["idp.example"], resolve=resolver)
        with pytest.raises(Unreachable):
            await Fetcher(checked, context=ssl.create_default_context()).get(
                f"https://idp.example:{port}/"
            )
        tasks.cancel_scope.cancel()
    assert b"idp.example" in first[0], "the name is in the client hello"
