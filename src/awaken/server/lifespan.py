"""What runs while the application runs, and in which order it ends.

Drain (dispatch.md, section 6): new work is refused, attempts get `drain_seconds`, the rest is
handed over, and only then streams end, so that their readers see whatever was still written.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio

from awaken.mailbox.bury import bury
from awaken.mailbox.config import MailboxConfig
from awaken.mailbox.service import Unattended
from awaken.net.fetch import Fetcher
from awaken.ports.clock import Clock, Ids
from awaken.ports.store import Store, operation
from awaken.protocols.native.http.services import Services
from awaken.registry.registry import Registry
from awaken.server.auth.setup import make_guard
from awaken.server.metrics import Metrics
from awaken.server.observe import Observation, ObservedMailbox, observing
from awaken.server.settings import Settings
from awaken.server.stores import open_store
from awaken.server.webhook_signature import secret_key
from awaken.server.webhooks import Deliverer
from awaken.stores.announcing import AnnouncingStore
from awaken.stores.burying import BuryingStore
from awaken.streams.care import keep_logs_small
from awaken.streams.hub import Hub
from awaken.streams.writer import open_writer

CLOSE_SECONDS: Final = 10.0
"""How long closing the models, and then the store, may take; all that was accepted is durable."""


@asynccontextmanager
async def running(
    registry: Registry, settings: Settings, clock: Clock, ids: Ids, metrics: Metrics
) -> AsyncIterator[Services]:
    """The services, while they run. Leaving drains them.

    Raises:
        SettingsError, StoreFault: the store cannot be opened.
    """
    worker_id = f"{socket.gethostname()}:{os.getpid()}:{ids.new()[-6:]}"
    store = await open_store(settings, clock, worker_id)
    try:
        async with (
            observing(settings, metrics, clock, ids, worker_id) as watch,
            anyio.create_task_group() as tasks,
        ):
            services = compose(registry, settings, clock, ids, watch, store, worker_id)
            tasks.start_soon(metrics.pulse.run)
            tasks.start_soon(services.hub.run)
            tasks.start_soon(_take_care, services, settings)
            if settings.webhook_url is not None:
                tasks.start_soon(make_deliverer(services, settings, metrics).run)
            await tasks.start(services.mailbox.run)
            yield services
            await drain(services, settings)
            tasks.cancel_scope.cancel()
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await registry.aclose()
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await store.aclose()


async def _take_care(services: Services, settings: Settings) -> None:
    await keep_logs_small(
        services.store,
        services.clock,
        every_seconds=settings.gc_ms / 1000,
        retention_ms=settings.delta_retention_ms,
    )


def compose(
    registry: Registry,
    settings: Settings,
    clock: Clock,
    ids: Ids,
    watch: Observation,
    store: Store,
    worker_id: str,
) -> Services:
    """The services over an open store, not yet running."""
    hub = Hub(store, clock, heartbeat_ticks=settings.heartbeat_seconds)
    store.listen(hub.deliver)
    written = watch.store(_filling_outbox(store, settings))
    mailbox = ObservedMailbox(
        store=BuryingStore(written, lambda *row: operation(bury, *row)),
        resolver=watch.resolver(registry),
        open_writer=watch.open_writer(open_writer(store, clock, flush_ms=settings.flush_ms)),
        clock=clock,
        ids=ids,
        worker_id=worker_id,
        config=mailbox_config(settings),
        observer=watch.attempt_ended,
        unattended=attendance(hub, clock),
    )
    mailbox.carry = watch.carry
    return Services(
        mailbox=mailbox,
        hub=hub,
        store=store,
        resolver=registry,
        clock=clock,
        ids=ids,
        heartbeat_seconds=settings.heartbeat_seconds,
        started_at=clock.monotonic(),
    )


def _filling_outbox(store: Store, settings: Settings) -> Store:
    """Where nobody is told, nothing is written for it."""
    return store if settings.webhook_url is None else AnnouncingStore(store)


def make_deliverer(services: Services, settings: Settings, metrics: Metrics) -> Deliverer:
    """What sends webhooks to where the settings say."""
    assert settings.webhook_url is not None, "asked before"
    assert settings.webhook_secret is not None, "the settings see to it"
    return Deliverer(
        store=services.store,
        fetcher=Fetcher(make_guard(settings)),
        url=settings.webhook_url,
        key=secret_key(settings.webhook_secret.get_secret_value()),
        clock=services.clock,
        ids=services.ids,
        report=lambda result: metrics.webhooks.labels(result).inc(),
    )


def mailbox_config(settings: Settings) -> MailboxConfig:
    """The mailbox's part of the settings."""
    return MailboxConfig(
        lease_ms=settings.lease_ms,
        renewal_ms=settings.lease_renewal_ms,
        sweep_ms=settings.sweep_ms,
        gc_ms=settings.gc_ms,
        poll_ms=settings.poll_ms,
        finished_retention_ms=settings.finished_retention_ms,
        dead_letter_retention_ms=settings.dead_letter_retention_ms,
        ticket_retention_ms=settings.ticket_retention_ms,
        event_retention_ms=settings.event_retention_ms,
        run_retention_ms=settings.run_retention_ms,
        max_concurrent_runs=settings.max_concurrent_runs,
        foreground_slots=settings.kept_slots,
        max_queued=settings.max_queued,
        max_queued_per_thread=settings.max_queued_per_thread,
        max_attempts=settings.max_attempts,
        interrupt_grace_ms=settings.interrupt_grace_ms,
        cancel_grace_seconds=settings.cancel_grace_seconds,
        unattended_seconds=settings.unattended_seconds,
    )


def attendance(hub: Hub, clock: Clock) -> Unattended:
    """How long a run has been without a reader (`on_disconnect: cancel`).

    A run that had none in this process counts from now on: after a restart its reader has the same
    time to come back.
    """
    began = clock.monotonic()

    def unattended(tenant: str, run_id: str) -> float:
        if hub.readers(tenant, run_id):
            return 0.0
        left = hub.last_reader_left(tenant, run_id)
        return clock.monotonic() - (began if left is None else left)

    return unattended


async def drain(services: Services, settings: Settings) -> None:
    """Stop in order; harmless when it was done before."""
    if services.hub.closed:
        return
    await services.mailbox.drain(settings.drain_seconds)
    services.hub.close()
