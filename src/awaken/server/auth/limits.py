"""What one key may use: requests a minute, runs at a time, tokens a day.

All of it is counted in this process: three processes give a key three times as much, and a restart
begins anew. Runs that ended elsewhere are noticed by asking the store before anybody is refused.

* Requests: a bucket that holds a minute's worth and fills evenly.
* Runs: those that the key started and that have not ended or begun to wait. Queued ones count.
* Tokens: what the models report for the key's runs, by UTC day. A run that has begun goes on; when
  the day's tokens are used up, the next one is refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from awaken.domain.event import InferenceComplete, RunFinish
from awaken.domain.run import RunStatus
from awaken.domain.termination import SuspendedEnd
from awaken.ports.clock import Clock
from awaken.ports.hints import Hint, LogGrew
from awaken.ports.store import Store
from awaken.protocols.native.decode import Caller
from awaken.server.auth.errors import over_limit
from awaken.server.auth.keys import KeyLimits

MAX_KNOWN: Final = 10_000
"""Keys and subjects that are counted; whoever was away longest is forgotten first."""
MAX_RUNS: Final = 100_000
"""Runs that are counted at a time."""
LOOKED_AT: Final = 20
"""Runs the store is asked about before one more is refused."""
BUSY_SECONDS: Final = 5
DAY_MS: Final = 24 * 3_600_000

RunKey = tuple[str, str]
"""(tenant, run id)."""


@dataclass(slots=True)
class Account:
    """What one key uses."""

    limits: KeyLimits
    requests: float = 0.0
    filled_at: float = 0.0
    runs: dict[RunKey, None] = field(default_factory=dict)
    day: int = 0
    tokens: int = 0


class Accounts:
    """The accounts of all keys.

    Args:
        clock: counts minutes and days.
        defaults: what keys may use that say nothing themselves; 0 is no limit.
        own: what single keys may use, by credential.
    """

    def __init__(self, clock: Clock, defaults: KeyLimits, own: Mapping[str, KeyLimits]) -> None:
        self._clock = clock
        self._defaults = defaults
        self._own = own
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        self._owners: OrderedDict[RunKey, str] = OrderedDict()

    # --- requests

    def take_request(self, credential: str) -> None:
        """Count a request.

        Raises:
            Refusal: `rate_limited`.
        """
        account = self._account(credential)
        limit = account.limits.requests_per_minute
        if not limit:
            return
        now = self._clock.monotonic()
        account.requests = min(limit, account.requests + (now - account.filled_at) * limit / 60)
        account.filled_at = now
        if account.requests < 1:
            wait = (1 - account.requests) * 60 / limit
            raise over_limit("rate_limited", "too many requests", limit, int(wait) + 1)
        account.requests -= 1

    # --- runs and tokens

    async def begin_run(self, caller: Caller, run_id: str, store: Store) -> None:
        """Count a run before it is submitted; `end_run` when it was not accepted.

        Raises:
            Refusal: `token_limit`, `too_many_runs`.
        """
        if not caller.credential:
            return
        account = self._account(caller.credential)
        self._check_tokens(account)
        await self._check_runs(account, store)
        key = caller.tenant, run_id
        if account.limits.concurrent_runs:
            account.runs[key] = None
        if account.limits.concurrent_runs or account.limits.tokens_per_day:
            self._owners[key] = caller.credential
            while len(self._owners) > MAX_RUNS:
                self._forget(next(iter(self._owners)))

    def end_run(self, tenant: str, run_id: str) -> None:
        """The run is over, or was never accepted."""
        self._forget((tenant, run_id))

    def hear(self, hints: Sequence[Hint]) -> None:
        """The store's listener."""
        for hint in hints:
            if isinstance(hint, LogGrew) and hint.segment.run_id is not None:
                key = hint.segment.tenant, hint.segment.run_id
                if key in self._owners:
                    for item in hint.segment.items:
                        self._happened(key, item.event)

    def _happened(self, key: RunKey, event: object) -> None:
        match event:
            case InferenceComplete(usage=dict(usage)):
                account = self._account(self._owners[key])
                self._turn_day(account)
                account.tokens += _total(usage)
            case RunFinish(termination=SuspendedEnd()):
                self._pause(key)
            case RunFinish():
                self._forget(key)
            case _:
                pass

    def _check_tokens(self, account: Account) -> None:
        limit = account.limits.tokens_per_day
        self._turn_day(account)
        if limit and account.tokens >= limit:
            left = DAY_MS - self._clock.now() % DAY_MS
            raise over_limit(
                "token_limit", "the tokens of this day are used up", limit, left // 1000 + 1
            )

    def _turn_day(self, account: Account) -> None:
        day = self._clock.now() // DAY_MS
        if day != account.day:
            account.day, account.tokens = day, 0

    async def _check_runs(self, account: Account, store: Store) -> None:
        limit = account.limits.concurrent_runs
        if not limit or len(account.runs) < limit:
            return
        for tenant, run_id in list(account.runs)[:LOOKED_AT]:
            run = await store.run(tenant, run_id)
            if run is not None and run.status in (RunStatus.waiting, RunStatus.done):
                self._pause((tenant, run_id))
        if len(account.runs) >= limit:
            raise over_limit("too_many_runs", "too many runs at a time", limit, BUSY_SECONDS)

    def _pause(self, key: RunKey) -> None:
        """A run that waits takes no place, but its tokens still count when it goes on."""
        account = self._accounts.get(self._owners.get(key, ""))
        if account is not None:
            account.runs.pop(key, None)

    def _forget(self, key: RunKey) -> None:
        self._pause(key)
        self._owners.pop(key, None)

    def _account(self, credential: str) -> Account:
        account = self._accounts.get(credential)
        if account is None:
            limits = self._limits(credential)
            account = Account(limits, limits.requests_per_minute or 0, self._clock.monotonic())
            self._accounts[credential] = account
            while len(self._accounts) > MAX_KNOWN:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(credential)
        return account

    def _limits(self, credential: str) -> KeyLimits:
        own = self._own.get(credential, KeyLimits())
        pairs = zip(own, self._defaults, strict=True)
        return KeyLimits(*(default if mine is None else mine for mine, default in pairs))


def _total(usage: Mapping[str, int]) -> int:
    if "total_tokens" in usage:
        return usage["total_tokens"]
    return usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0)
