"""Webhooks: told at least once, under one id, signed; over crashes, and receivers that are down."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import anyio
import httpx
import pytest
from pydantic import SecretStr, ValidationError

from awaken import demo
from awaken.domain.outgoing import GIVEN_UP_KEPT_MS, LEASE_MS, MAX_ATTEMPTS, Outgoing, delay_ms
from awaken.errors import StoreFault
from awaken.mailbox.outbox import take
from awaken.net.fetch import Fetcher
from awaken.net.guard import Guard
from awaken.ports.store import Store, Transaction, operation
from awaken.server.app import App, create_app
from awaken.server.settings import Settings
from awaken.server.webhook_signature import secret_key, signature
from awaken.server.webhooks import Deliverer
from awaken.stores.announcing import AnnouncingStore
from awaken.stores.sqlite import SqliteStore
from awaken.testing.clock import FakeClock
from awaken.testing.faulty import Fault, FaultyStore
from tests.mailbox.agents import AGENTS
from tests.mailbox.lab import TENANT, Lab
from tests.server.conftest import BASE
from tests.server.receiver import SECRET, Receiver, receiving
from tests.server.support import finished

DAY = 24 * 3_600


class Sender:
    """A laboratory whose runs are announced, and a deliverer that is driven by hand."""

    def __init__(self, store: Store, clock: FakeClock, url: str, allowed: tuple[str, ...]) -> None:
        self.store, self.clock = store, clock
        self.lab = Lab(AnnouncingStore(store), clock, AGENTS)
        self.results: list[str] = []
        self.deliverer = Deliverer(
            store=store,
            fetcher=Fetcher(Guard(allowed), seconds=2),
            url=url,
            key=secret_key(SECRET),
            clock=clock,
            ids=self.lab.ids,
            report=self.results.append,
        )

    async def run(self) -> str:
        """A run that ends; its id."""
        accepted = await self.lab.submit("hi", thread_id=None)
        await self.lab.work()
        return accepted.run_id

    async def deliver(self) -> None:
        while await self.deliverer.deliver_due():
            pass

    async def all_outgoing(self) -> list[Outgoing]:
        """What is in the outbox, the earliest first."""
        self.clock.advance(400 * DAY)
        keys = await self.store.due_outgoing(100)
        self.clock.advance(-400 * DAY)

        async def read(tx: Transaction) -> list[Outgoing]:
            found = [await tx.outgoing(*key) for key in keys]
            return [each for each in found if each is not None]

        return await self.store.transact(read)


@asynccontextmanager
async def sender(
    url: str, *allowed: str, path: str = ":memory:", clock: FakeClock | None = None
) -> AsyncIterator[Sender]:
    clock = clock or FakeClock()
    store = await SqliteStore.open(path, clock=clock, worker_id=f"w{id(clock)}-{clock.now()}")
    try:
        yield Sender(store, clock, url, allowed)
    finally:
        await store.aclose()


HERE = "127.0.0.1"


# --- what is told ---------------------------------------------------------------------------------


async def test_a_run_that_ends_is_told_once_signed_and_without_what_was_said() -> None:
    async with receiving() as receiver, sender(receiver.url, HERE) as sending:
        run_id = await sending.run()
        await sending.deliver()
        (got,) = receiver.got
        assert got.verified
        assert got.headers["content-type"] == "application/json"
        run = await sending.lab.run(run_id)
        assert got.told == {
            "type": "run.finished",
            "timestamp": "2026-01-01T00:00:00.000+00:00",
            "data": {
                "tenant": TENANT,
                "thread_id": run.thread_id,
                "run_id": run_id,
                "seq": (await sending.lab.entries(run_id))[-1].seq,
                "status": "natural_end",
            },
        }
        assert sending.results == ["delivered"]
        await sending.deliver()
        assert len(receiver.got) == 1
        assert await sending.store.outgoing_counts(10) == (0, 0)


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of the specification's authors."""
    made = signature(
        secret_key(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_another_secret_or_body_does_not_verify() -> None:
    async with receiving() as receiver, sender(receiver.url, HERE) as sending:
        sending.deliverer._key = b"x" * 24
        await sending.run()
        await sending.deliver()
        assert not receiver.got[0].verified


# --- receivers that are down, and crashes ---------------------------------------------------------


async def test_a_receiver_that_was_down_is_told_when_it_is_up_under_the_same_id() -> None:
    async with receiving() as gone:
        pass
    async with sender(gone.url, HERE) as sending:
        await sending.run()
        await sending.deliver()
        assert sending.results == ["failed"]
        assert (await sending.all_outgoing())[0].last_error == "outbound_failed"
        async with receiving(gone.port) as receiver:
            receiver.answer = lambda _: 204 if len(receiver.got) >= 2 else 503
            for _ in range(3):
                sending.clock.advance(5 * 60)
                await sending.deliver()
            assert sending.results == ["failed", "failed", "failed", "delivered"]
            assert len({got.id for got in receiver.got}) == 1
            assert len({got.body for got in receiver.got}) == 1
            assert all(got.verified for got in receiver.got)
            times = {got.headers["webhook-timestamp"] for got in receiver.got}
            assert len(times) == 3, "each attempt is signed for its own time"


async def test_a_crash_between_the_commit_and_the_delivery_loses_nothing(tmp_path: Path) -> None:
    path, clock = str(tmp_path / "awaken.db"), FakeClock()
    async with receiving() as receiver:
        store = await SqliteStore.open(path, clock=clock, worker_id="victim")
        await Sender(store, clock, receiver.url, (HERE,)).run()
        await store.abandon()
        assert receiver.got == []
        async with sender(receiver.url, HERE, path=path, clock=clock) as heir:
            await heir.deliver()
        assert len(receiver.got) == 1


async def test_what_a_sender_took_and_did_not_settle_is_sent_again_after_its_lease(
    tmp_path: Path,
) -> None:
    path, clock = str(tmp_path / "awaken.db"), FakeClock()
    async with receiving() as receiver:
        store = await SqliteStore.open(path, clock=clock, worker_id="victim")
        victim = Sender(store, clock, receiver.url, (HERE,))
        await victim.run()
        (key,) = await store.due_outgoing(10)
        mine = await store.transact(operation(take, *key))
        assert mine is not None
        assert await victim.deliverer._send(mine) is None  # it was sent, and then it died
        await store.abandon()
        async with sender(receiver.url, HERE, path=path, clock=clock) as heir:
            await heir.deliver()
            assert len(receiver.got) == 1
            clock.advance(LEASE_MS / 1000 + 1)
            await heir.deliver()
        assert len(receiver.got) == 2
        assert receiver.got[0].id == receiver.got[1].id


@pytest.mark.parametrize("fault", Fault)
async def test_whatever_call_of_the_store_fails_it_is_told_at_least_once(fault: Fault) -> None:
    for nth in count(1):
        async with receiving() as receiver, sender(receiver.url, HERE) as healthy:
            await healthy.run()
            faulty = FaultyStore(healthy.store, fault, nth=nth, reads=True)
            troubled = Sender(faulty, healthy.clock, receiver.url, (HERE,))
            try:
                await troubled.deliver()
            except StoreFault:
                assert faulty.failed
            healthy.clock.advance(10 * 60)
            await healthy.deliver()
            assert 1 <= len(receiver.got) <= 2
            assert len({got.id for got in receiver.got}) == 1
            assert await healthy.store.outgoing_counts(10) == (0, 0)
        if not faulty.failed:
            assert nth > 3
            break


async def test_two_senders_share_the_work() -> None:
    async with receiving() as receiver, sender(receiver.url, HERE) as one:
        other = Sender(one.store, one.clock, receiver.url, (HERE,))
        runs = [await one.run() for _ in range(20)]
        async with anyio.create_task_group() as tasks:
            for each in (one, other):
                tasks.start_soon(each.deliver)
        told = Counter(got.told["data"]["run_id"] for got in receiver.got)
        assert told == dict.fromkeys(runs, 1)


# --- giving up ------------------------------------------------------------------------------------


def test_it_is_tried_again_after_a_minute_two_and_at_most_a_day_with_jitter() -> None:
    whole = [delay_ms(attempts, 1.0) for attempts in range(1, MAX_ATTEMPTS)]
    assert whole[:4] == [60_000, 120_000, 240_000, 480_000]
    assert whole[-1] == DAY * 1000
    assert [delay_ms(n, 0.5) for n in range(1, MAX_ATTEMPTS)] == [each // 2 for each in whole]


async def test_a_receiver_that_never_answers_is_given_up_and_the_message_is_forgotten_later() -> (
    None
):
    async with receiving() as receiver, sender(receiver.url, HERE) as sending:
        receiver.answer = lambda _: 500
        await sending.run()
        for _ in range(MAX_ATTEMPTS + 3):
            await sending.deliver()
            sending.clock.advance(DAY)
        assert len(receiver.got) == MAX_ATTEMPTS
        assert sending.results == ["failed"] * (MAX_ATTEMPTS - 1) + ["given_up"]
        assert await sending.store.outgoing_counts(10) == (0, 1)
        sending.clock.advance(GIVEN_UP_KEPT_MS / 1000)
        await sending.deliver()
        assert await sending.store.outgoing_counts(10) == (0, 0)
        assert len(receiver.got) == MAX_ATTEMPTS


async def test_a_redirect_is_no_delivery_and_is_not_followed() -> None:
    async with receiving() as receiver, sender(receiver.url, HERE) as sending:
        receiver.answer = lambda _: 307
        await sending.run()
        await sending.deliver()
        assert sending.results == ["failed"]
        assert (await sending.all_outgoing())[0].last_error == "status_307"


# --- where it may go ------------------------------------------------------------------------------


async def test_a_private_address_is_refused_unless_it_is_allowed() -> None:
    async with receiving() as receiver:
        async with sender(receiver.url) as sending:
            await sending.run()
            await sending.deliver()
            assert sending.results == ["failed"]
            (kept,) = await sending.all_outgoing()
            assert kept.last_error == "url_forbidden"
        assert receiver.got == [], "nothing was connected to"


async def test_without_a_url_nothing_is_written_for_it() -> None:
    clock = FakeClock()
    store = await SqliteStore.open(":memory:", clock=clock, worker_id="w")
    try:
        lab = Lab(store, clock, AGENTS)
        await lab.submit("hi")
        await lab.work()
        assert await store.next_outgoing_at() is None
    finally:
        await store.aclose()


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_!!", "c" * 40])
def test_a_secret_that_is_none_is_refused_without_being_told(secret: str) -> None:
    with pytest.raises(ValidationError, match="base64 of 24 to 64 random bytes") as caught:
        Settings(webhook_url="https://example.com/", webhook_secret=SecretStr(secret))
    assert not secret or secret not in str(caught.value).replace("whsec_ and", "")


def test_a_url_needs_a_secret() -> None:
    with pytest.raises(ValidationError, match="AWAKEN_WEBHOOK_SECRET: expected"):
        Settings(webhook_url="https://example.com/")


# --- the whole server -----------------------------------------------------------------------------


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def telling(receiver: Receiver) -> AsyncIterator[App]:
    settings = Settings(
        store="sqlite://:memory:",
        drain_seconds=0,
        webhook_url=receiver.url,
        webhook_secret=SecretStr(SECRET),
        outbound_allow=(HERE,),
    )
    app = create_app(demo.make_agents(), settings)
    async with app.lifespan():
        yield app


async def test_a_server_tells_of_a_ticket_and_of_the_end_of_its_run(
    receiver: Receiver, telling: App
) -> None:
    transport = httpx.ASGITransport(app=telling)
    async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=10) as client:
        run = await finished(client, "clerk", "refund order 17 amount=20")
        await receiver.wait(1)
        opened = receiver.got[0]
        assert opened.verified
        (ticket,) = run["waiting"]["tickets"]
        assert opened.told["type"] == "ticket.opened"
        data = opened.told["data"]
        assert (data["ticket_id"], data["run_id"]) == (ticket["ticket_id"], run["run_id"])
        assert data["tool_name"] == "refund"
        assert b'"17"' not in opened.body
        assert b"amount" not in opened.body
        assert "arguments" not in data
        url = f"/v1/tickets/{ticket['ticket_id']}/decision"
        assert (await client.post(url, json={"action": "resume"})).status_code == 202
        await receiver.wait(2)
        told = receiver.got[1].told
        assert (told["type"], told["data"]["status"]) == ("run.finished", "natural_end")
        metrics = (await client.get("/metrics")).text
        assert 'awaken_webhooks_total{result="delivered"} ' in metrics
        doctor = (await client.get("/v1/system/doctor")).json()
        (finding,) = [each for each in doctor["findings"] if each["check"] == "webhooks"]
        assert finding["status"] == "ok"
