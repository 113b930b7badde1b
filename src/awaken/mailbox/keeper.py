"""The keeper: what may be done with a store's data, as the rest of the server sees it.

It only delegates: to `retry` for what failed, to `erase` for what is to go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

from awaken.domain.care import Children, Erased
from awaken.domain.run import RunStatus
from awaken.domain.submission import Accepted
from awaken.domain.thread import Thread
from awaken.errors import UndecodableRecord, not_found
from awaken.mailbox.config import MailboxConfig
from awaken.mailbox.erase import Begun, Transact, begin, carry_out, threads_of
from awaken.mailbox.retry import RetryOrder, discard, retry, run_of_letter, unreadable
from awaken.mailbox.threads import update_thread
from awaken.ports.resolver import Resolver
from awaken.ports.store import Store, operation

PAGE: Final = 200


class Request(Protocol):
    """What is told of the request that asks for a retry."""

    @property
    def tenant(self) -> str: ...
    @property
    def transport_request_id(self) -> str | None: ...
    @property
    def correlation_id(self) -> str | None: ...
    @property
    def actor(self) -> str: ...


Place = Callable[[Accepted, str], Awaitable[Accepted]]
"""What was accepted for a tenant, with its place in line."""


class Keeper:
    """Tries again, discards and deletes, against one store.

    `transact` carries out an operation that is its own name, and insists until its fate is known.
    """

    def __init__(
        self,
        store: Store,
        resolver: Resolver,
        transact: Transact,
        config: MailboxConfig,
        place: Place,
    ) -> None:
        self._store = store
        self._resolver = resolver
        self._transact = transact
        self._config = config
        self._place = place

    async def retry(self, request: Request, run_id: str) -> Accepted:
        """Try a failed run again, as a new one; there is one for each run.

        Raises:
            RequestError: `run_not_found`, `agent_not_found`.
            Refusal: `not_retryable`.
        """
        try:
            run = await self._store.run(request.tenant, run_id)
        except UndecodableRecord as error:
            raise unreadable(run_id) from error
        if run is None:
            raise not_found("run", run_id)
        resolution_id, spec = self._resolver.resolve(request.tenant, run.agent_id)
        order = RetryOrder(
            tenant=request.tenant,
            run_id=run_id,
            resolution_id=resolution_id,
            spec=spec,
            max_attempts=self._config.max_attempts,
            transport_request_id=request.transport_request_id,
            correlation_id=request.correlation_id,
            actor=request.actor,
        )
        accepted: Accepted = await self._transact(operation(retry, order))
        waits = accepted.status is RunStatus.created
        return await self._place(accepted, request.tenant) if waits else accepted

    async def run_of_letter(self, tenant: str, dispatch_id: str) -> str:
        """The run that a dead letter was to deliver; RequestError `dead_letter_not_found`."""
        return await self._store.transact(operation(run_of_letter, tenant, dispatch_id))

    async def discard(self, tenant: str, dispatch_id: str) -> None:
        """Take a dead letter out of the list; RequestError `dead_letter_not_found`."""
        await self._transact(operation(discard, tenant, dispatch_id))

    async def delete_thread(
        self, tenant: str, thread_id: str, *, children: Children, by: str
    ) -> Erased:
        """Delete a thread and all that is held of it; its runs are stopped first.

        Raises:
            RequestError: `thread_not_found`.
            Refusal: `thread_has_children`.
        """
        begun = await self._begin(tenant, thread_id, children, by)
        assert begun.deletion is not None
        return await carry_out(self._transact, begun.deletion)

    async def delete_resource(self, tenant: str, resource_id: str, *, by: str) -> Erased:
        """Delete all threads of a resource, and the threads below them.

        All are taken away before the rows of any are deleted.

        Raises:
            RequestError: `resource_not_found`: it has no thread.
        """
        deletions = []
        while ids := await self._transact(operation(threads_of, tenant, resource_id)):
            for thread_id in ids:
                begun = await self._begin(tenant, thread_id, Children.cascade, by)
                deletions.append(begun.deletion)
        if not deletions:
            raise not_found("resource", resource_id)
        erased = Erased()
        for deletion in deletions:
            assert deletion is not None
            erased += await carry_out(self._transact, deletion)
        return erased

    async def threads_of_resource(self, tenant: str, resource_id: str) -> AsyncIterator[Thread]:
        """The threads of a resource and those below them, each once."""
        async for thread in self._threads(tenant, resource_id=resource_id):
            yield thread
            async for below in self._below(tenant, thread, resource_id):
                yield below

    # --- how

    async def _begin(self, tenant: str, thread_id: str, children: Children, by: str) -> Begun:
        """Take the thread away, after what has to go before."""
        begun = Begun()
        while begun.deletion is None:
            for child in begun.children:
                changes = {"parent_thread_id": None}
                await self._transact(operation(update_thread, tenant, child, changes))
            begun = await self._transact(operation(begin, tenant, thread_id, children, by))
        return begun

    async def _threads(
        self,
        tenant: str,
        *,
        resource_id: str | None = None,
        parent_thread_id: str | None = None,
    ) -> AsyncIterator[Thread]:
        key: str | None = None
        while True:
            page = await self._store.threads(
                tenant, PAGE, key, resource_id=resource_id, parent_thread_id=parent_thread_id
            )
            for thread in page.items:
                yield thread
            key = page.next_key
            if key is None:
                return

    async def _below(self, tenant: str, thread: Thread, resource_id: str) -> AsyncIterator[Thread]:
        """Threads below `thread` that are not the resource's own, which come by themselves."""
        async for below in self._threads(tenant, parent_thread_id=thread.thread_id):
            if below.resource_id == resource_id:
                continue
            yield below
            async for deeper in self._below(tenant, below, resource_id):
                yield deeper
