"""One thread of the model: its runs, their deliveries, and the messages that wait to be read."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

from msgspec.structs import replace

from awaken.domain.delivery import Boundary, DeliveryMode, PendingEntry, select
from awaken.domain.dispatch import (
    Applied,
    Claimed,
    Command,
    Dispatch,
    Finished,
    Mode,
    Queued,
    apply,
)
from awaken.domain.line import LineRow, line_row, rank
from awaken.domain.message import Message, Role
from awaken.domain.run import RunStatus
from awaken.domain.thread import ThreadHead

PRIORITY = {Mode.foreground: 64, Mode.background: 128, Mode.resume: 64}
AT_THE_START = DeliveryMode()


@dataclass
class ModelRun:
    """A run: where it is, and how it must end.

    `said` counts the tokens published of the open step, None when no step is open; `published`
    those of all its steps. `asked` says that a stop was answered `cancel_requested`, `turn` how
    often it came to its end and went on, `hidden` that it was rolled back.
    """

    run_id: str
    dispatch_id: str
    status: RunStatus = RunStatus.created
    activation: int = 0
    ended: str | None = None
    superseded_by: str | None = None
    too_late: bool = False
    said: int | None = None
    published: int = 0
    asked: bool = False
    turn: int = 0
    hidden: bool = False
    ticket: str | None = None


@dataclass
class ModelEntry:
    """A message that waits for its run; `follow_up` delivers the run that takes it otherwise."""

    message_id: str
    text: str
    run_id: str
    mode: DeliveryMode = AT_THE_START
    revision: int = 1
    follow_up: Dispatch | None = None

    @property
    def row(self) -> tuple[object, ...]:
        """What can be compared with a row of the store."""
        fallback = self.follow_up and self.follow_up.run_id
        return self.message_id, self.text, self.run_id, self.mode, self.revision, fallback

    def entry(self) -> PendingEntry:
        """As `select` wants it."""
        message = Message(message_id=self.message_id, role=Role.user)
        return PendingEntry(
            tenant="",
            thread_id="",
            position=0,
            message=message,
            created_at=0,
            run_id=self.run_id,
            mode=self.mode,
        )


class ModelThread:
    """One thread. A *unit* is one commit: `begin`, changes, `save`."""

    def __init__(self, tenant: str, thread_id: str) -> None:
        self.head = ThreadHead(tenant=tenant, thread_id=thread_id)
        self.dispatches: dict[str, Dispatch] = {}
        self.runs: dict[str, ModelRun] = {}
        self.queue: list[ModelEntry] = []
        self.read: dict[str, str] = {}
        self.due: set[str] = set()
        self.line: LineRow | None = None
        self.latest = ""
        self._moved: dict[str, Dispatch] = {}
        self._freed = False
        self._was_claimed = False

    def begin(self, now: int) -> None:
        self.now = now
        self._moved, self._freed = {}, False
        self._was_claimed = self.head.claimed_dispatch is not None

    def save(self) -> None:
        for dispatch_id, dispatch in self._moved.items():
            self.due.discard(dispatch_id)
            if isinstance(dispatch.body, Queued) and dispatch.body.available_at <= self.now:
                self.due.add(dispatch_id)
        still_claimed = self._was_claimed and self.head.claimed_dispatch is not None
        if (self._moved or self._freed) and not still_claimed:
            self.line = self.choice()

    def choice(self) -> LineRow | None:
        """Who may be claimed next."""
        first = None
        if self.head.active_run is not None:
            first = self.dispatches[self.runs[self.head.active_run].dispatch_id]
        elif self.head.front is not None:
            first = self.dispatches[self.head.front]
        # What was due when it was written is early now if the clock was set back meanwhile.
        early = [first] if first else list(takewhile(self.early, self.all_due()))
        self.due -= {dispatch.dispatch_id for dispatch in early if self.early(dispatch)}
        return line_row(self.head, first, self.first_due(), self.now)

    def early(self, dispatch: Dispatch) -> bool:
        return isinstance(dispatch.body, Queued) and dispatch.body.available_at > self.now

    def all_due(self) -> list[Dispatch]:
        return sorted((self.dispatches[dispatch_id] for dispatch_id in self.due), key=_by_rank)

    def first_due(self) -> Dispatch | None:
        return next(iter(self.all_due()), None)

    def queued(self, *, foreground: bool = False) -> list[Dispatch]:
        found = [d for d in self.dispatches.values() if isinstance(d.body, Queued)]
        return sorted((d for d in found if d.foreground or not foreground), key=_by_rank)

    @property
    def busy(self) -> bool:
        return bool(self.head.active_run or self.head.queued_count or self.head.waiting_run)

    def live(self) -> list[Dispatch]:
        return [d for d in self.dispatches.values() if not isinstance(d.body, Finished)]

    def send(self, dispatch_id: str, command: Command) -> Applied | None:
        """Carry a command to a dispatch; None when it is refused."""
        answer = apply(self.dispatches[dispatch_id], self.head, command, self.now)
        if not isinstance(answer, Applied):
            return None
        self.head = answer.head
        self.keep(answer.dispatch)
        return answer

    def keep(self, dispatch: Dispatch) -> None:
        self.dispatches[dispatch.dispatch_id] = self._moved[dispatch.dispatch_id] = dispatch

    def enqueue(self, dispatch: Dispatch, *, in_front: bool) -> None:
        front = dispatch.dispatch_id if in_front else self.head.front
        count = self.head.queued_count + 1
        self.head = replace(self.head, queued_count=count, front=front)
        self.keep(dispatch)

    def raise_epoch(self) -> None:
        self.head = replace(self.head, epoch=self.head.epoch + 1)

    # --- what waits to be read

    def unread(self, run_id: str) -> list[ModelEntry]:
        return [entry for entry in self.queue if entry.run_id == run_id]

    def waits(self, message_id: str) -> ModelEntry | None:
        return next((entry for entry in self.queue if entry.message_id == message_id), None)

    def queue_changed(self) -> None:
        self.head = replace(self.head, pending_revision=self.head.pending_revision + 1)

    def take(self, run_id: str) -> list[ModelEntry]:
        """The run's entries, which it has no longer."""
        taken = self.unread(run_id)
        self.queue = [entry for entry in self.queue if entry.run_id != run_id]
        return taken

    def consume(self, run: ModelRun, boundary: Boundary, *, just_staged: bool = False) -> bool:
        """Let the run read what it may; whether there was anything."""
        chosen = select([e.entry() for e in self.unread(run.run_id)], boundary, run.run_id)
        ids = {entry.message.message_id for entry in chosen}
        self.queue = [entry for entry in self.queue if entry.message_id not in ids]
        self.read.update(dict.fromkeys(ids, run.run_id))
        if ids and not just_staged:
            self.queue_changed()
        return bool(ids)

    def leave(self, run: ModelRun, *, stopped: bool) -> None:
        """The run will not read what waits for it: follow-ups start, unless it was stopped."""
        entries = self.unread(run.run_id)
        lost = [entry for entry in entries if stopped or entry.follow_up is None]
        self.queue = [entry for entry in self.queue if entry not in lost]
        if lost:
            self.queue_changed()
        for entry in entries:
            if entry.follow_up is not None and not stopped:
                self._follow(entry, entry.follow_up)

    def _follow(self, entry: ModelEntry, follow_up: Dispatch) -> None:
        dispatch = replace(
            follow_up,
            epoch=self.head.epoch,
            rank=rank(self.now, follow_up.priority),
            eligible_at=self.now,
            created_at=self.now,
            updated_at=self.now,
            body=Queued(available_at=self.now),
        )
        self.enqueue(dispatch, in_front=False)
        self.runs[dispatch.run_id] = ModelRun(dispatch.run_id, dispatch.dispatch_id)
        entry.run_id, entry.mode, entry.follow_up = dispatch.run_id, DeliveryMode(), None
        entry.revision += 1
        self.queue_changed()
        self.latest = dispatch.run_id

    def going_on(self) -> ModelRun | None:
        """Who can be steered."""
        run_id = self.head.active_run or self.head.waiting_run
        if run_id is None:
            return None
        dispatch = self.dispatches[self.runs[run_id].dispatch_id]
        if isinstance(dispatch.body, Claimed):
            stale = dispatch.epoch < self.head.epoch
            if stale or dispatch.body.cancel_request is not None:
                return None
        return self.runs[run_id]

    def end(self, run: ModelRun, ended: str, by: str | None = None, *, hide: bool = False) -> None:
        """`finish`."""
        run.status, run.ended, run.superseded_by = RunStatus.done, ended, by
        run.said, run.ticket, run.hidden = None, None, hide
        if self.head.waiting_run == run.run_id:
            self.head = replace(self.head, waiting_run=None)
            self._freed = True
        self.leave(run, stopped=ended == "cancelled")


def _by_rank(dispatch: Dispatch) -> tuple[int, str]:
    return dispatch.rank, dispatch.dispatch_id
