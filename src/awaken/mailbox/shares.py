"""Fairness between tenants: one that has much in line does not hold up the others.

Each submission that has to wait moves its tenant's clock on; the next one is ranked by that clock,
if it is ahead of the time. So a tenant's burst is spread over the places to come, and another's
single run goes before most of it. Priorities have clocks of their own, so that an urgent run does
not pay for those that can wait. The clocks live in this process and follow the time, so nothing
starves, and forgetting them does no harm.
"""

from __future__ import annotations

from typing import Final

STEP_MS: Final = 100
"""How much later each waiting submission places the next one of its tenant."""
MAX_LEAD_MS: Final = 3_600_000
MAX_CLOCKS: Final = 10_000
"""More are not kept: those that are not ahead are dropped first."""


class Shares:
    """The tenants' clocks."""

    def __init__(self) -> None:
        self._clocks: dict[tuple[str, int], int] = {}

    def lead(self, tenant: str, priority: int, now: int) -> int:
        """How far (ms) the tenant's waiting submissions of that priority run ahead."""
        return max(0, min(self._clocks.get((tenant, priority), now) - now, MAX_LEAD_MS))

    def waits(self, tenant: str, priority: int, now: int) -> None:
        """A submission was accepted and has to wait."""
        if len(self._clocks) >= MAX_CLOCKS:
            self._clocks = {key: at for key, at in self._clocks.items() if at > now}
        ahead = now + self.lead(tenant, priority, now)
        self._clocks[tenant, priority] = ahead + STEP_MS
