"""All SQL of the SQLite store but the schema.

Fixed texts with parameters: nothing that comes from outside becomes part of a statement. Where a
list has optional filters, each combination is a statement of its own, so that each has its index;
they are put together here, once, from the constants below. `tests/stores/test_plans.py` looks at
their plans.
"""

from __future__ import annotations

from itertools import product
from typing import Final

# --- rows by key -------------------------------------------------------------------------------

# A thread's head.
HEAD: Final = """
select seq, message_seq, epoch, active_run, waiting_run, claimed_dispatch, front, queued_count,
    pending_revision, served_at
from thread_heads where tenant = ? and thread_id = ?"""

# A thread's metadata.
THREAD: Final = "select data from threads where tenant = ? and thread_id = ?"

# A run.
RUN: Final = "select data from runs where tenant = ? and run_id = ?"

# The run of a thread that waits.
WAITING_RUN: Final = """
select run_id, data from runs where tenant = ? and thread_id = ? and status = 'waiting' limit 1"""

# A dispatch.
DISPATCH: Final = "select data from dispatches where tenant = ? and dispatch_id = ?"

# A ticket.
TICKET: Final = "select data from tickets where tenant = ? and ticket_id = ?"

# A pinned specification.
RESOLUTION: Final = "select data from resolutions where tenant = ? and resolution_id = ?"

# --- what may be claimed, and when -------------------------------------------------------------

# The live dispatch of a thread that has a dedupe key.
LIVE_WITH_KEY: Final = """
select tenant, dispatch_id, data from dispatches
where tenant = ? and thread_id = ? and dedupe_key = ?
and dedupe_key is not null and state in ('queued', 'claimed') limit 1"""

# Queued foreground dispatches of a thread by rank.
QUEUED_FOREGROUND: Final = """
select tenant, dispatch_id, data from dispatches
where tenant = ? and thread_id = ? and state = 'queued' and foreground = 1
order by rank, dispatch_id limit ?"""

# Queued dispatches of a thread that are due (1) or not (0), by rank.
QUEUED: Final = """
select tenant, dispatch_id, data from dispatches
where tenant = ? and thread_id = ? and due = ? and state = 'queued'
order by rank, dispatch_id limit ?"""

# The thread to be served next.
NEXT_IN_LINE: Final = """
select tenant, thread_id, dispatch_id, rank, foreground from line
order by rank, dispatch_id limit 1"""

# The thread to be served next among those with a client that waits.
NEXT_FOREGROUND_IN_LINE: Final = """
select tenant, thread_id, dispatch_id, rank, foreground from line where foreground = 1
order by rank, dispatch_id limit 1"""

# Queued dispatches whose time came after they were written.
UNDUE: Final = """
select tenant, dispatch_id, data from dispatches
where state = 'queued' and due = 0 and available_at <= ? order by available_at limit ?"""

# The five times at which something is to be done without a hint.
NEXT_TIMES: Final = """
select
    (select min(available_at) from dispatches where state = 'queued' and due = 0),
    (select min(lease_until) from dispatches where state = 'claimed'),
    (select min(interrupt_deadline) from dispatches where interrupt_deadline is not null),
    (select min(expires_at) from tickets where status = 'open' and expires_at is not null),
    (select min(next_at) from schedules where next_at is not null)"""

# Claims whose lease ended before a time, earliest first.
LEASE_EXPIRED: Final = """
select tenant, dispatch_id, data from dispatches
where state = 'claimed' and lease_until < ? order by lease_until limit ?"""

# Claims whose grace after an interrupt ended before a time, earliest first.
DEADLINE_PASSED: Final = """
select tenant, dispatch_id, data from dispatches
where interrupt_deadline is not null and interrupt_deadline < ?
order by interrupt_deadline limit ?"""

# Claims of one worker: a walk over all claims, of which there are as many as slots.
CLAIMS_OF: Final = """
select tenant, dispatch_id, data from dispatches
where state = 'claimed' and lease_until >= 0 and worker_id = ? order by lease_until"""

# Claims of all other workers.
CLAIMS_OF_OTHERS: Final = """
select tenant, dispatch_id, data from dispatches
where state = 'claimed' and lease_until >= 0 and worker_id <> ? order by lease_until"""

# How many due dispatches have a smaller rank, counted to a limit. Left alone, SQLite prefers an
# index that walks all that is due.
AHEAD: Final = """
select count(*) from (
    select 1 from dispatches indexed by dispatches_rank
    where state = 'queued' and due = 1 and (rank, dispatch_id) < (?, ?)
    limit ?)"""

# --- a thread's messages, log and questions ----------------------------------------------------

# Pending entries of a thread.
PENDING: Final = """
select message_id, data from pending where tenant = ? and thread_id = ?
order by position, message_id"""

# Pending entries of a run.
PENDING_OF_RUN: Final = """
select message_id, data from pending where tenant = ? and thread_id = ? and run_id = ?
order by position, message_id"""

# Pending entries of a thread with these message ids (a JSON array).
PENDING_WITH: Final = """
select p.message_id, p.data from json_each(?3) as wanted
cross join pending as p
where p.tenant = ?1 and p.thread_id = ?2 and p.message_id = wanted.value
order by p.position, p.message_id"""

# Committed messages of a thread with these ids (a JSON array).
MESSAGES_WITH: Final = """
select m.message_id, m.data from json_each(?3) as wanted
cross join messages as m
where m.tenant = ?1 and m.thread_id = ?2 and m.message_id = wanted.value
order by m.message_seq"""

# Messages of a run behind a number.
MESSAGES_OF_RUN: Final = """
select message_id, data from messages
where tenant = ? and thread_id = ? and run_id = ? and message_seq > ? order by message_seq"""

# Messages of a thread behind a number.
MESSAGES_AFTER: Final = """
select message_id, data from messages
where tenant = ? and thread_id = ? and message_seq > ? order by message_seq limit ?"""

# Messages of a thread that an agent may see.
CONVERSATION: Final = """
select message_seq, data from messages
where tenant = ? and thread_id = ? and visibility <> 'replaced' order by message_seq"""

_SEGMENT: Final = "select thread_id, last_seq, first_seq, run_id, at, boundary, data from events"

# Segments of a thread behind a number.
SEGMENTS: Final = f"""
{_SEGMENT} where tenant = ? and thread_id = ? and last_seq > ? order by last_seq limit ?"""

# Segments of a run behind a number.
SEGMENTS_OF_RUN: Final = f"""
{_SEGMENT} where tenant = ? and run_id = ? and last_seq > ? order by last_seq limit ?"""

# The last numbers of the logs of these threads (a JSON array of [tenant, thread_id]).
HEADS: Final = """
select h.tenant, h.thread_id, h.seq from json_each(?) as wanted
cross join thread_heads as h
where h.tenant = json_extract(wanted.value, '$[0]')
and h.thread_id = json_extract(wanted.value, '$[1]')"""

# Open tickets of a run.
OPEN_TICKETS: Final = """
select ticket_id, data from tickets
where tenant = ? and run_id = ? and status = 'open' order by ticket_id"""

# All tickets of a run, closed ones too.
TICKETS_OF_RUN: Final = """
select ticket_id, data from tickets where tenant = ? and run_id = ?
order by opened_at, ticket_id"""

# Open tickets whose time has passed, earliest first.
EXPIRED_TICKETS: Final = """
select tenant, ticket_id, data from tickets
where status = 'open' and expires_at is not null and expires_at < ? order by expires_at limit ?"""

# A note.
NOTE: Final = "select data from notes where tenant = ? and kind = ? and key = ?"

# --- writes ------------------------------------------------------------------------------------

PUT_HEAD: Final = """
insert into thread_heads values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (tenant, thread_id) do update set
    seq = excluded.seq, message_seq = excluded.message_seq, epoch = excluded.epoch,
    active_run = excluded.active_run, waiting_run = excluded.waiting_run,
    claimed_dispatch = excluded.claimed_dispatch,
    front = excluded.front, queued_count = excluded.queued_count,
    pending_revision = excluded.pending_revision, served_at = excluded.served_at"""

PUT_THREAD: Final = """
insert into threads (tenant, thread_id, updated_at, resource_id, parent_thread_id, data)
values (?, ?, ?, ?, ?, ?)
on conflict (tenant, thread_id) do update set
    updated_at = excluded.updated_at, resource_id = excluded.resource_id,
    parent_thread_id = excluded.parent_thread_id, data = excluded.data"""

# What a run is born with never changes, and is not written again: its indexes stay untouched.
PUT_RUN: Final = """
insert into runs (
    tenant, run_id, thread_id, agent_id, status, created_at, finished_at, resolution_id, data)
values (?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (tenant, run_id) do update set
    status = excluded.status, finished_at = excluded.finished_at, data = excluded.data"""

PUT_DISPATCH: Final = """
insert into dispatches (
    tenant, dispatch_id, thread_id, run_id, state, rank, foreground, due, available_at, lease_until,
    interrupt_deadline, worker_id, finished_at, dedupe_key, created_at, updated_at, data)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (tenant, dispatch_id) do update set
    state = excluded.state, rank = excluded.rank, foreground = excluded.foreground,
    due = excluded.due, available_at = excluded.available_at, lease_until = excluded.lease_until,
    interrupt_deadline = excluded.interrupt_deadline, worker_id = excluded.worker_id,
    finished_at = excluded.finished_at, dedupe_key = excluded.dedupe_key,
    updated_at = excluded.updated_at, data = excluded.data"""

# A claimed dispatch none of whose derived columns changes but the time of the change.
PUT_DISPATCH_DATA: Final = """
update dispatches set updated_at = ?1, data = ?4 where tenant = ?2 and dispatch_id = ?3"""

PUT_LINE: Final = """
insert into line values (?, ?, ?, ?, ?)
on conflict (tenant, thread_id) do update set
    dispatch_id = excluded.dispatch_id, rank = excluded.rank, foreground = excluded.foreground"""

LEAVE_LINE: Final = "delete from line where tenant = ? and thread_id = ?"

PUT_PENDING: Final = """
insert into pending (tenant, thread_id, message_id, position, run_id, data)
values (?, ?, ?, ?, ?, ?)
on conflict (tenant, thread_id, message_id) do update set
    position = excluded.position, run_id = excluded.run_id, data = excluded.data"""

DELETE_PENDING: Final = """
delete from pending where tenant = ? and thread_id = ? and message_id = ?"""

PUT_MESSAGE: Final = """
insert into messages (tenant, thread_id, message_seq, message_id, run_id, visibility, data)
values (?, ?, ?, ?, ?, ?, ?)
on conflict (tenant, thread_id, message_seq) do update set
    visibility = excluded.visibility, data = excluded.data"""

APPEND: Final = """
insert into events (tenant, thread_id, last_seq, first_seq, run_id, at, boundary, data)
values (?, ?, ?, ?, ?, ?, ?, ?)"""

PUT_NOTE: Final = """
insert into notes values (?, ?, ?, ?, ?)
on conflict (tenant, kind, key) do update set
    expires_at = excluded.expires_at, data = excluded.data"""

PUT_TICKET: Final = """
insert into tickets (
    tenant, ticket_id, thread_id, run_id, status, opened_at, expires_at, closed_at, data)
values (?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (tenant, ticket_id) do update set
    status = excluded.status, expires_at = excluded.expires_at, closed_at = excluded.closed_at,
    data = excluded.data"""

PUT_RESOLUTION: Final = """
insert into resolutions (tenant, resolution_id, data) values (?, ?, ?)
on conflict (tenant, resolution_id) do nothing"""

# --- lists -------------------------------------------------------------------------------------

_RUN_THREAD: Final = " and thread_id = :thread_id"
_RUN_AGENT: Final = " and agent_id = :agent_id"
_RUN_STATUS: Final = {
    "any": "",
    "unfinished": " and status = :status and status <> 'done'",
    "done": " and status = 'done'",
}

# Runs, newest first: by whether a thread is given, whether an agent is, and the kind of status.
RUNS: Final = {
    (by_thread, by_agent, status): f"""
select run_id, created_at, data from runs
where tenant = :tenant and (created_at, run_id) < (:created_at, :run_id)\
{_RUN_THREAD if by_thread else ""}{_RUN_AGENT if by_agent else ""}{_RUN_STATUS[status]}
order by created_at desc, run_id desc limit :limit"""
    for by_thread, by_agent, status in product((False, True), (False, True), _RUN_STATUS)
}

_THREAD_RESOURCE: Final = " and resource_id = :resource_id"
_THREAD_PARENT: Final = " and parent_thread_id = :parent_thread_id"

# Threads, latest updated first: by whether a resource is given, and whether a parent is.
THREADS: Final = {
    (by_resource, by_parent): f"""
select thread_id, updated_at, data from threads
where tenant = :tenant and (updated_at, thread_id) < (:updated_at, :thread_id)\
{_THREAD_RESOURCE if by_resource else ""}{_THREAD_PARENT if by_parent else ""}
order by updated_at desc, thread_id desc limit :limit"""
    for by_resource, by_parent in product((False, True), repeat=2)
}

_TICKET_THREAD: Final = " and thread_id = :thread_id"
_TICKET_RUN: Final = " and run_id = :run_id"
_TICKET_STATUS: Final = {
    "any": "",
    "open": " and status = 'open'",
    "closed": " and status = :status",
}

# Tickets, newest first: by whether a thread is given, whether a run is, and the kind of status.
TICKETS: Final = {
    (by_thread, by_run, status): f"""
select ticket_id, opened_at, data from tickets
where tenant = :tenant and (opened_at, ticket_id) < (:opened_at, :ticket_id)\
{_TICKET_THREAD if by_thread else ""}{_TICKET_RUN if by_run else ""}{_TICKET_STATUS[status]}
order by opened_at desc, ticket_id desc limit :limit"""
    for by_thread, by_run, status in product((False, True), (False, True), _TICKET_STATUS)
}

# Messages between two numbers: by whether a run is given, and whether the last comes first.
MESSAGES: Final = {
    (by_run, descending): f"""
select message_seq, data from messages
where tenant = :tenant and thread_id = :thread_id\
{" and run_id = :run_id" if by_run else ""}
and message_seq > :after and message_seq < :before and visibility in (:one, :other, :third)
order by message_seq {"desc" if descending else "asc"} limit :limit"""
    for by_run, descending in product((False, True), repeat=2)
}

# Dispatches of a thread, newest first.
DISPATCHES: Final = """
select dispatch_id, created_at, data from dispatches
where tenant = :tenant and thread_id = :thread_id
and (created_at, dispatch_id) < (:created_at, :dispatch_id)
order by created_at desc, dispatch_id desc limit :limit"""

# --- counts ------------------------------------------------------------------------------------

# Dispatches by state, over all tenants or of one; then threads in line; then the oldest due time.
COUNTS: Final = "select state, sum(n) from dispatch_counts group by state"
COUNTS_OF: Final = "select state, n from dispatch_counts where tenant = ?"
IN_LINE: Final = "select count(*) from line"
IN_LINE_OF: Final = "select count(*) from line where tenant = ?"
OLDEST: Final = """
select min(available_at) from dispatches where state = 'queued' and due = ?"""
OLDEST_OF: Final = """
select min(available_at) from dispatches where tenant = ? and state = 'queued'"""

# How many due dispatches are queued, up to a number: in all, and of a thread.
COUNT_DUE: Final = """
select count(*) from (select 1 from dispatches where state = 'queued' and due = 1 limit ?)"""
COUNT_DUE_OF: Final = """
select count(*) from (
    select 1 from dispatches where tenant = ? and thread_id = ? and state = 'queued' and due = 1
    limit ?)"""

# --- care --------------------------------------------------------------------------------------

# Done runs whose log was not compacted yet, oldest first.
COMPACTABLE: Final = """
select run_id, data from runs
where status = 'done' and compacted = 0 and finished_at < ? order by finished_at limit ?"""

# The first and the last number of a run's log.
RUN_SPAN: Final = """
select min(first_seq), max(last_seq) from events where tenant = ? and run_id = ?"""

# Delete a run's segments behind one number up to another.
DELETE_SEGMENTS: Final = """
delete from events where tenant = ? and run_id = ? and last_seq > ? and last_seq <= ?"""

MARK_COMPACTED: Final = "update runs set compacted = 1 where tenant = ? and run_id = ?"

PROBE: Final = """
insert into probe values (1, ?) on conflict (id) do update set at = excluded.at"""
