"""What the routes work with, and how they find it: in the ASGI scope of their request.

The application object is made before its store is open, so routes are not given their services but
look them up; outside the application's lifespan there are none, and the front answers 503 for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Protocol

from fastapi import Depends
from starlette.requests import Request

from awaken.domain.care import retry_id
from awaken.domain.run import Run, RunStatus
from awaken.domain.submission import Accepted, Submission
from awaken.domain.ticket import Ticket, TicketStatus
from awaken.mailbox.service import Mailbox, draining
from awaken.ports.clock import Clock, Ids
from awaken.ports.resolver import Resolver
from awaken.ports.store import Store, TicketFilter
from awaken.protocols.native.decode import Caller, idempotency_key, request_id
from awaken.protocols.native.http.asgi import Scope, header, route_path
from awaken.protocols.native.http.identity import identity_of
from awaken.streams.hub import Hub

SCOPE_KEY = "awaken.services"
MAX_TICKETS: Final = 200
"""How many open tickets are shown with their run; `/v1/tickets` lists all."""


class Quota(Protocol):
    """Counts what callers use."""

    async def begin_run(self, caller: Caller, run_id: str, store: Store) -> None:
        """Count a run before it is submitted, or raise Refusal (429)."""
        ...

    def end_run(self, tenant: str, run_id: str) -> None:
        """Take it back: it was not accepted."""
        ...


class NoQuota:
    """Everybody may use as much as there is."""

    async def begin_run(self, caller: Caller, run_id: str, store: Store) -> None:
        return

    def end_run(self, tenant: str, run_id: str) -> None:
        return


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything below the routes."""

    mailbox: Mailbox
    hub: Hub
    store: Store
    resolver: Resolver
    clock: Clock
    ids: Ids
    heartbeat_seconds: float
    started_at: float
    quota: Quota = field(default_factory=NoQuota)

    async def submit(self, caller: Caller, submission: Submission) -> Accepted:
        """Submit a run for `caller`; all routes of all protocols come through here.

        Raises:
            Refusal: the caller's quota is used up, or as `Mailbox.submit`.
        """
        await self.quota.begin_run(caller, submission.run_id, self.store)
        accepted: Accepted | None = None
        try:
            accepted = await self.mailbox.submit(submission)
        finally:
            if accepted is None or accepted.run_id != submission.run_id:
                self.quota.end_run(submission.tenant, submission.run_id)
        return accepted

    async def retry(self, caller: Caller, run_id: str) -> Accepted:
        """Try a failed run again for `caller`.

        Raises:
            Refusal: `draining`, the caller's quota is used up, or as `Keeper.retry`.
        """
        if self.mailbox.draining:
            raise draining()
        again = retry_id(run_id)
        if await self.store.known_runs(caller.tenant, [again]):
            return await self.mailbox.keeper.retry(caller, run_id)
        await self.quota.begin_run(caller, again, self.store)
        accepted: Accepted | None = None
        try:
            accepted = await self.mailbox.keeper.retry(caller, run_id)
        finally:
            if accepted is None:
                self.quota.end_run(caller.tenant, again)
        return accepted

    async def open_tickets(self, run: Run) -> list[Ticket]:
        """What `run` asks, first question first; only a waiting run has open tickets."""
        if run.status is not RunStatus.waiting:
            return []
        where = TicketFilter(run_id=run.run_id, status=TicketStatus.open)
        page = await self.store.tickets(run.tenant, where, MAX_TICKETS, None)
        return list(reversed(page.items))


def services_of(scope: Scope) -> Services:
    """The services the front put into the scope."""
    services: Any = scope[SCOPE_KEY]
    assert isinstance(services, Services)
    return services


def caller_of(scope: Scope) -> Caller:
    """Whose request it is, as the policy point found out."""
    identity = identity_of(scope)
    return Caller(
        tenant=identity.tenant,
        actor=identity.actor,
        credential=identity.credential,
        transport_request_id=request_id(header(scope, b"x-request-id")),
        correlation_id=request_id(header(scope, b"x-correlation-id")),
        route=f"{scope['method']} {route_path(scope)}",
        idempotency_key=idempotency_key(header(scope, b"idempotency-key")),
    )


async def _services(request: Request) -> Services:
    return services_of(request.scope)


async def _caller(request: Request) -> Caller:
    return caller_of(request.scope)


Served = Annotated[Services, Depends(_services)]
Asking = Annotated[Caller, Depends(_caller)]
