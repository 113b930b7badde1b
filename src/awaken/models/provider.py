"""Models of providers, through pydantic-ai's model layer.

This file is what the rest of the package sees. All that touches the client libraries is in
`provider_live.py` and what that imports, and is loaded with the first request, in a thread: it
takes a second or two, in which the event loop must go on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio.to_thread
from anyio.lowlevel import RunVar

from awaken.models.provider_options import ProviderOptions, check_name
from awaken.ports.model import ModelEvent, ModelRequest

if TYPE_CHECKING:
    from awaken.models.provider_live import Live


class ProviderModel:
    """One model of one provider, asked once for each request: `RetryingModel` round it asks again.

    It may be used from several event loops, one after the other: each has its own connections.

    Args:
        name: `provider:model`, as pydantic-ai names it. It decides which model is asked; the name
            in a request is not read.
        base_url: where a compatible server is. A key in the environment is then *not* used, since
            it belongs to the provider itself: give the server's own as `api_key`.
        api_key: the key; without one, the provider's environment variable.
        headers: sent with every request.
        timeout_seconds: how long the provider may be silent, before its answer and within it.
        prefill: whether the model goes on with an answer whose beginning is the last message it is
            sent. None: the Claude models known to do so.
        finish_reason_required: whether an answer that ends without a reason counts as cut off. Some
            compatible servers never give one.

    Raises:
        ValueError: there is no such provider, or its client library is not installed.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = 300.0,
        prefill: bool | None = None,
        finish_reason_required: bool = True,
    ) -> None:
        check_name(name)
        self.name = name
        self._options = ProviderOptions(
            base_url=base_url,
            api_key=api_key,
            headers=dict(headers or {}),
            timeout_seconds=timeout_seconds,
            prefill=prefill,
            finish_reason_required=finish_reason_required,
        )
        self._slots: RunVar[_Slot] = RunVar(f"awaken model {name}")

    def __repr__(self) -> str:
        return f"ProviderModel({self.name!r})"

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Ask the provider once; see `ports/model.py`.

        Raises:
            Fault: with one of the codes of `provider_errors.FAULTS`.
        """
        live = await self._live()
        async with aclosing(live.stream(request)) as events:
            async for event in events:
                yield event

    async def connect(self) -> None:
        """Load the client libraries and make the client now, not with the first request.

        Raises:
            Fault: as `stream`, when the model cannot be asked at all.
        """
        await self._live()

    async def aclose(self) -> None:
        """Close the connections of this event loop; a later request opens new ones."""
        slot = self._slots.get(None)
        if slot is not None and slot.live is not None:
            live, slot.live = slot.live, None
            await live.close()

    async def _live(self) -> Live:
        slot = self._slots.get(None)
        if slot is None:
            slot = _Slot()
            self._slots.set(slot)
        if slot.live is None:
            async with slot.lock:
                if slot.live is None:
                    slot.live = await _connect(self.name, self._options)
        return slot.live


class _Slot:
    """What belongs to one event loop."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.live: Live | None = None


async def _connect(name: str, options: ProviderOptions) -> Live:
    live = await anyio.to_thread.run_sync(_make, name, options, abandon_on_cancel=True)
    await live.open()
    return live


def _make(name: str, options: ProviderOptions) -> Live:
    from awaken.models.provider_live import make_live

    return make_live(name, options)
