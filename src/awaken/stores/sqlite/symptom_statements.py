"""The SQL that looks for what should not be in the rows (`ports/symptoms.py`).

Each walks an index in its order and stops after a number of rows. The conditions that are always
true (`tenant >= ''`) make it a search of that index.
"""

from __future__ import annotations

from typing import Final

# Claims whose lease, and whose grace after an interrupt, ended before a time.
LEASE_ENDED: Final = """
select tenant, dispatch_id, run_id, lease_until from dispatches
where state = 'claimed' and lease_until < ? order by lease_until limit ?"""
GRACE_ENDED: Final = """
select tenant, dispatch_id, run_id, interrupt_deadline from dispatches
where interrupt_deadline is not null and interrupt_deadline < ?
order by interrupt_deadline limit ?"""

# Queued dispatches that were due before a time, and were not made so.
NOT_PROMOTED: Final = """
select tenant, dispatch_id, run_id, available_at from dispatches
where state = 'queued' and due = 0 and available_at < ? order by available_at limit ?"""

# The places in line, with their dispatches if there are any.
LINE: Final = """
select wanted.tenant, wanted.dispatch_id, wanted.rank, d.run_id, d.available_at, d.state
from (select tenant, dispatch_id, rank from line where rank >= ?1
    order by rank, dispatch_id limit ?2) as wanted
left join dispatches as d
on d.tenant = wanted.tenant and d.dispatch_id = wanted.dispatch_id"""

# Live dispatches with the status of their run: those that are claimed, in line, or not yet due.
_OF_RUN: Final = """
left join runs as r on r.tenant = wanted.tenant and r.run_id = wanted.run_id"""
_LIVE: Final = "select tenant, dispatch_id, run_id, data from dispatches"
LIVE: Final = {
    name: f"""
select wanted.tenant, wanted.dispatch_id, wanted.run_id, r.status, wanted.data
from ({_LIVE} {condition} limit ?) as wanted{_OF_RUN}"""
    for name, condition in {
        "claimed": "where state = 'claimed' and lease_until >= 0 order by lease_until",
        "due": "indexed by dispatches_rank where state = 'queued' and due = 1 "
        "and rank >= -9223372036854775808 order by rank, dispatch_id",
        "undue": "where state = 'queued' and due = 0 order by available_at",
    }.items()
}

# Unfinished runs, tenant by tenant, and within one by status and age.
UNFINISHED: Final = """
select tenant, run_id, data from runs
where status <> 'done' and tenant >= '' order by tenant, status, created_at, run_id limit ?"""

# Whether a dispatch is live, and whether a run has an open ticket.
STATE: Final = "select state from dispatches where tenant = ? and dispatch_id = ?"
OPEN_TICKET: Final = """
select 1 from tickets where tenant = ? and run_id = ? and status = 'open' limit 1"""

# Records that somebody is going to read.
ALL_OPEN_TICKETS: Final = """
select tenant, ticket_id, run_id, data from tickets
where status = 'open' and tenant >= '' order by tenant, opened_at, ticket_id limit ?"""
ALL_PENDING: Final = """
select tenant, message_id, run_id, data from pending
where tenant >= '' order by tenant, thread_id, message_id limit ?"""

# The latest dead letters.
DEAD: Final = """
select tenant, dispatch_id, run_id, data from dispatches
where state in ('dead_letter', 'discarded') and finished_at >= 0 and state = 'dead_letter'
order by finished_at desc limit ?"""
DEAD_COUNT: Final = "select sum(n) from dispatch_counts where state = 'dead_letter'"

# When the last lease ends.
LATEST_LEASE: Final = "select max(lease_until) from dispatches where state = 'claimed'"
