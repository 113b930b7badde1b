"""Going back in a conversation: a message answered anew, or said differently.

Invariants
B1. Nothing is deleted and nothing is rewritten (I4): what follows is hidden, each message by a
    tombstone that names the run that took its place, in the commit that accepts that run.
B2. The message that is answered anew stays where it is and stays its run's: the new run points at
    it (`Run.answers`), whatever becomes of the run that answered it before.
B3. A message that is said differently is a new message, with an id of its own. `client_id` is the
    id that the client knows it by, as often as it is edited.
B4. Whoever works on the thread is stopped, and what it says until it has stopped is hidden too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from awaken.domain.delivery import PendingEntry
from awaken.domain.event import MessagesReplaced
from awaken.domain.ids import derived_id
from awaken.domain.message import Message, MessageVisibility, Role, StoredMessage
from awaken.domain.record import Record
from awaken.domain.run import MessageRanges
from awaken.domain.submission import OnBusy, Submission
from awaken.errors import Refusal, not_found
from awaken.mailbox.unit import ThreadUnit

PAGE: Final = 500
MAX_HIDDEN: Final = 10_000
"""How many messages one branch hides; the commit holds up all others."""
MAX_EDITS: Final = 1_000
"""How often one message may be edited."""


class Cut(Record):
    """Where a conversation is taken up again.

    Messages behind number `after` are hidden. The new run answers `answers` anew, or has `messages`
    of its own. `unread` is the message, not read yet, from which on nothing is read any more; with
    `keeps` it is itself still read.
    """

    after: int
    on_busy: OnBusy
    answers: MessageRanges = MessageRanges()
    messages: tuple[Message, ...] = ()
    unread: str | None = None
    keeps: bool = False


async def find_cut(unit: ThreadUnit, sub: Submission) -> Cut | None:
    """Where `sub` branches off; None when it does not, or edits what the thread never had.

    Raises:
        RequestError: `message_not_found`: there is nothing to answer anew.
        Refusal: `branch_too_long`.
    """
    if sub.branch is None:
        return None
    name = sub.branch.message_id
    if sub.branch.kind == "regenerate":
        return await _cut_behind(unit, name)
    found = None if unit.new else await _find(unit, name)
    return None if found is None else _cut_before(unit, sub, found)


async def hide(unit: ThreadUnit, cut: Cut, run_id: str) -> None:
    """Hide what follows the cut; the run `run_id` takes its place.

    Raises:
        Refusal: `branch_too_long`.
    """
    if unit.head.message_seq - cut.after > MAX_HIDDEN:
        raise Refusal(
            "branch_too_long",
            f"more than {MAX_HIDDEN} messages follow; fork the thread instead",
            details={"thread_id": unit.head.thread_id, "limit": MAX_HIDDEN},
        )
    hidden: list[str] = []
    after = cut.after
    while page := await _page(unit, after):
        after = page[-1].message_seq
        shown = [each for each in page if _is_shown(each)]
        hidden += [each.message.message_id for each in shown]
        for each in shown:
            tombstone = replace(each.message, visibility=MessageVisibility.replaced)
            unit.tx.put_message(
                unit.head.tenant, replace(each, message=tombstone, replaced_by=run_id)
            )
    if hidden:
        unit.emit(run_id, MessagesReplaced(message_ids=tuple(hidden), by_run_id=run_id))


def kept(cut: Cut, unread: Sequence[Message]) -> list[Message]:
    """What of the messages that nobody has read yet is still to be read."""
    names = [message.client_id or message.message_id for message in unread]
    if cut.unread is None or cut.unread not in names:
        return []
    return list(unread[: names.index(cut.unread) + cut.keeps])


# --- how -----------------------------------------------------------------------------------------


async def _cut_behind(unit: ThreadUnit, name: str) -> Cut:
    """Behind a message of the user, or behind the input of a run that is to be answered anew."""
    found = await _find(unit, name)
    if isinstance(found, PendingEntry):
        nothing = unit.head.message_seq
        return Cut(after=nothing, on_busy=OnBusy.interrupt, unread=name, keeps=True)
    number = found.message_seq if found else await _input_of(unit, name)
    if number is None or (found and found.message.role is not Role.user):
        raise not_found("message", name)
    return Cut(after=number, on_busy=OnBusy.rollback, answers=MessageRanges().with_seqs(number))


async def _input_of(unit: ThreadUnit, run_id: str) -> int | None:
    """The number of the last message that a run of the thread was to answer."""
    run = await unit.tx.run(unit.head.tenant, run_id)
    if run is None or run.thread_id != unit.head.thread_id:
        return None
    return max((*run.input.seqs, *run.answers.seqs), default=None)


def _cut_before(unit: ThreadUnit, sub: Submission, found: StoredMessage | PendingEntry) -> Cut:
    assert sub.branch is not None, "an edit is a branch"
    name = sub.branch.message_id
    *others, edited = sub.messages
    renamed = replace(edited, message_id=derived_id(sub.run_id, "edit"), client_id=name)
    said = (*others, renamed)
    if isinstance(found, PendingEntry):
        nothing = unit.head.message_seq
        return Cut(after=nothing, on_busy=OnBusy.interrupt, messages=said, unread=name)
    return Cut(after=found.message_seq - 1, on_busy=OnBusy.rollback, messages=said)


async def _find(unit: ThreadUnit, name: str) -> StoredMessage | PendingEntry | None:
    """The message that a client knows as `name`: that itself, or what took its place."""
    tenant, thread_id = unit.head.tenant, unit.head.thread_id
    found = next(iter(await unit.tx.messages_with(tenant, thread_id, [name])), None)
    for _ in range(MAX_EDITS):
        if found is None or _is_shown(found):
            break
        found = await _successor(unit, found, name)
    return found or await _find_unread(unit, name)


async def _successor(unit: ThreadUnit, gone: StoredMessage, name: str) -> StoredMessage | None:
    """The edited message in the run that hid `gone`."""
    tenant, thread_id = unit.head.tenant, unit.head.thread_id
    owned = await unit.tx.messages_of_run(tenant, thread_id, gone.replaced_by or "")
    same = [each for each in owned if each.message.client_id == name]
    return same[-1] if same else None


async def _find_unread(unit: ThreadUnit, name: str) -> PendingEntry | None:
    if not unit.head.queued_count and unit.head.active_run is None:
        return None
    waiting = await unit.tx.pending(unit.head.tenant, unit.head.thread_id)
    return next((each for each in waiting if name in _names(each.message)), None)


def _names(message: Message) -> tuple[str, str | None]:
    return message.message_id, message.client_id


async def _page(unit: ThreadUnit, after: int) -> list[StoredMessage]:
    return await unit.tx.messages_after(unit.head.tenant, unit.head.thread_id, after, PAGE)


def _is_shown(stored: StoredMessage) -> bool:
    return stored.message.visibility is not MessageVisibility.replaced
