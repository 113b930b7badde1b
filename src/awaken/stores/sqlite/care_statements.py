"""The SQL of what is given up, deleted or old; the rules are those of `statements`."""

from __future__ import annotations

from itertools import product
from typing import Final

# --- deleting a thread ---------------------------------------------------------------------------

# Threads below a thread.
CHILDREN: Final = """
select thread_id from threads where tenant = ? and parent_thread_id = ? limit ?"""

# Threads of a resource.
THREADS_OF: Final = """
select thread_id from threads
where tenant = ? and resource_id = ? and resource_id is not null limit ?"""

# The deletion of a thread.
DELETION: Final = "select data from deletions where tenant = ? and thread_id = ?"

# All deletions, oldest first.
DELETIONS: Final = "select thread_id, data from deletions order by begun_at limit ?"

PUT_DELETION: Final = """
insert into deletions (tenant, thread_id, begun_at, data) values (?, ?, ?, ?)
on conflict (tenant, thread_id) do update set data = excluded.data"""

END_DELETION: Final = "delete from deletions where tenant = ? and thread_id = ?"

DROP_HEAD: Final = "delete from thread_heads where tenant = ? and thread_id = ?"
DROP_THREAD: Final = "delete from threads where tenant = ? and thread_id = ?"

# Runs of a thread, with the specifications they needed.
ERASE_RUNS: Final = """
delete from runs where rowid in (
    select rowid from runs where tenant = ? and thread_id = ? limit ?)
returning tenant, resolution_id"""

# The other rows of a thread, by table.
ERASE: Final = {
    table: f"""
delete from {table} where rowid in (
    select rowid from {table} where tenant = ? and thread_id = ? limit ?)"""
    for table in ("dispatches", "tickets", "messages", "pending", "events")
}

# A specification, if no run needs it.
DELETE_SPEC: Final = """
delete from resolutions where tenant = ?1 and resolution_id = ?2
and not exists (select 1 from runs where tenant = ?1 and resolution_id = ?2)"""

# --- giving up -----------------------------------------------------------------------------------

# A dispatch by its columns.
DELIVERY: Final = """
select thread_id, run_id, state from dispatches where tenant = ? and dispatch_id = ?"""

BURY_DISPATCH: Final = """
update dispatches set state = 'dead_letter', due = 0, finished_at = ?, available_at = null,
    lease_until = null, interrupt_deadline = null
where tenant = ? and dispatch_id = ?"""

BURY_RUN: Final = """
update runs set status = 'done', finished_at = ? where tenant = ? and run_id = ?"""

DISCARD: Final = """
update dispatches set state = 'discarded'
where tenant = ? and dispatch_id = ? and state in ('dead_letter', 'discarded')"""

_LETTER_THREAD: Final = " and d.thread_id = :thread_id"
_LETTER_AGENT: Final = " and r.agent_id = :agent_id"

# Dead letters, newest first: by whether a thread is given, and whether an agent is.
DEAD_LETTERS: Final = {
    (by_thread, by_agent): f"""
select d.dispatch_id, d.finished_at, d.run_id, d.thread_id, d.created_at, r.agent_id, d.data
from dispatches as d left join runs as r on r.tenant = d.tenant and r.run_id = d.run_id
where d.tenant = :tenant and d.state = 'dead_letter'
and (d.finished_at, d.dispatch_id) < (:finished_at, :dispatch_id)\
{_LETTER_THREAD if by_thread else ""}{_LETTER_AGENT if by_agent else ""}
order by d.finished_at desc, d.dispatch_id desc limit :limit"""
    for by_thread, by_agent in product((False, True), repeat=2)
}

# Which of these runs (a JSON array of ids) there are.
KNOWN_RUNS: Final = """
select r.run_id from json_each(?2) as wanted
cross join runs as r where r.tenant = ?1 and r.run_id = wanted.value"""

# --- what is old ---------------------------------------------------------------------------------

# How far a thread's log was deleted.
EXPIRED_SEQ: Final = "select expired_seq from threads where tenant = ? and thread_id = ?"

# Delete finished dispatches, oldest first.
PURGE_FINISHED: Final = """
delete from dispatches where rowid in (
    select rowid from dispatches
    where state in ('acked', 'cancelled', 'superseded') and finished_at < ?
    order by finished_at limit ?)"""

# Delete dead letters, oldest first.
PURGE_DEAD: Final = """
delete from dispatches where rowid in (
    select rowid from dispatches
    where state in ('dead_letter', 'discarded') and finished_at < ?
    order by finished_at limit ?)"""

# Delete closed tickets, oldest first; a run that goes on needs what it was answered.
PURGE_TICKETS: Final = """
delete from tickets where rowid in (
    select t.rowid from tickets as t
    where t.status <> 'open' and t.closed_at < ?
    and not exists (
        select 1 from runs as r
        where r.tenant = t.tenant and r.run_id = t.run_id and r.status <> 'done')
    order by t.closed_at limit ?)"""

# Delete notes whose time is over.
PURGE_NOTES: Final = """
delete from notes where (tenant, kind, key) in (
    select tenant, kind, key from notes where expires_at < ? order by expires_at limit ?)"""

# The oldest done runs whose log is in one of the states that `compacted` counts.
OLD_RUNS: Final = """
select tenant, run_id, thread_id from runs
where status = 'done' and compacted = ? and finished_at < ? order by finished_at limit ?"""

# What became of a run's log.
LOG_STATE: Final = "select compacted from runs where tenant = ? and run_id = ?"

SET_LOG_STATE: Final = "update runs set compacted = ? where tenant = ? and run_id = ?"

# Delete some segments of a run.
DELETE_LOG: Final = """
delete from events where rowid in (
    select rowid from events where tenant = ? and run_id = ? order by last_seq limit ?)
returning last_seq"""

RAISE_EXPIRED: Final = """
update threads set expired_seq = max(expired_seq, ?) where tenant = ? and thread_id = ?"""

DELETE_TICKETS_OF_RUN: Final = "delete from tickets where tenant = ? and run_id = ?"

DELETE_RUN: Final = """
delete from runs where tenant = ? and run_id = ? returning tenant, resolution_id"""
