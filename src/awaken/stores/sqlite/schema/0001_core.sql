-- Every key begins with the tenant. Times are epoch milliseconds. `data` is the record as JSON; the
-- columns beside it are derived from it, for selection only, and are written in the same statement.

-- Narrow, because every commit of a thread rewrites it.
create table thread_heads (
    tenant text not null,
    thread_id text not null,
    seq integer not null,
    message_seq integer not null,
    epoch integer not null,
    active_run text,
    waiting_run text,
    claimed_dispatch text,
    front text,
    queued_count integer not null,
    pending_revision integer not null,
    primary key (tenant, thread_id)
) without rowid;

create table threads (
    tenant text not null,
    thread_id text not null,
    updated_at integer not null,
    resource_id text,
    parent_thread_id text,
    data blob not null,
    primary key (tenant, thread_id)
);
create index threads_updated on threads (tenant, updated_at, thread_id);
create index threads_resource on threads (tenant, resource_id, updated_at, thread_id)
    where resource_id is not null;
create index threads_parent on threads (tenant, parent_thread_id, updated_at, thread_id)
    where parent_thread_id is not null;

create table runs (
    tenant text not null,
    run_id text not null,
    thread_id text not null,
    agent_id text not null,
    status text not null,
    created_at integer not null,
    finished_at integer,
    compacted integer not null default 0, -- set by compaction, kept when the run is put again
    data blob not null,
    primary key (tenant, run_id)
);
create index runs_created on runs (tenant, created_at, run_id);
create index runs_thread on runs (tenant, thread_id, created_at, run_id);
create index runs_agent on runs (tenant, agent_id, created_at, run_id);
-- Nearly all runs are done, so a list of done ones walks runs_created.
create index runs_unfinished on runs (tenant, status, created_at, run_id) where status <> 'done';
create index runs_waiting on runs (tenant, thread_id) where status = 'waiting';
create index runs_uncompacted on runs (finished_at) where status = 'done' and compacted = 0;

-- `due`: whether available_at had come when the row was written. Claiming looks at due rows only; a
-- promotion finds the others by dispatches_time once their time has come, and writes them again.
create table dispatches (
    tenant text not null,
    dispatch_id text not null,
    thread_id text not null,
    run_id text not null,
    state text not null,
    rank integer not null,
    foreground integer not null,
    due integer not null,
    available_at integer,
    lease_until integer,
    interrupt_deadline integer,
    worker_id text,
    finished_at integer,
    dedupe_key text,
    created_at integer not null,
    updated_at integer not null,
    data blob not null,
    primary key (tenant, dispatch_id)
);
create index dispatches_thread on dispatches (tenant, thread_id, created_at, dispatch_id);
create index dispatches_queued on dispatches (tenant, thread_id, due, rank, dispatch_id)
    where state = 'queued';
create index dispatches_foreground on dispatches (tenant, thread_id, rank, dispatch_id)
    where state = 'queued' and foreground = 1;
create index dispatches_rank on dispatches (rank, dispatch_id) where state = 'queued' and due = 1;
create index dispatches_time on dispatches (due, available_at) where state = 'queued';
create index dispatches_dedupe on dispatches (tenant, thread_id, dedupe_key)
    where dedupe_key is not null and state in ('queued', 'claimed');
create index dispatches_lease on dispatches (lease_until, worker_id) where state = 'claimed';
create index dispatches_deadline on dispatches (interrupt_deadline)
    where interrupt_deadline is not null;
create index dispatches_finished on dispatches (finished_at)
    where state in ('acked', 'cancelled', 'superseded');
create index dispatches_dead on dispatches (finished_at) where state = 'dead_letter';

-- How many dispatches are in each state: counting the rows would get slower with every finished one.
create table dispatch_counts (
    tenant text not null,
    state text not null,
    n integer not null,
    primary key (tenant, state)
) without rowid;
create trigger dispatch_counted after insert on dispatches begin
    insert into dispatch_counts values (new.tenant, new.state, 1)
        on conflict do update set n = n + 1;
end;
create trigger dispatch_recounted after update of state on dispatches
when old.state <> new.state begin
    update dispatch_counts set n = n - 1 where tenant = old.tenant and state = old.state;
    insert into dispatch_counts values (new.tenant, new.state, 1)
        on conflict do update set n = n + 1;
end;
create trigger dispatch_uncounted after delete on dispatches begin
    update dispatch_counts set n = n - 1 where tenant = old.tenant and state = old.state;
end;

-- One row for each thread that can be claimed now.
create table line (
    tenant text not null,
    thread_id text not null,
    dispatch_id text not null,
    rank integer not null,
    foreground integer not null,
    primary key (tenant, thread_id)
) without rowid;
create index line_rank on line (rank, dispatch_id);
create index line_foreground on line (rank, dispatch_id) where foreground = 1;

create table pending (
    tenant text not null,
    thread_id text not null,
    message_id text not null,
    position integer not null,
    run_id text,
    data blob not null,
    primary key (tenant, thread_id, message_id)
);
create index pending_position on pending (tenant, thread_id, position, message_id);
create index pending_run on pending (tenant, thread_id, run_id, position, message_id)
    where run_id is not null;

create table messages (
    tenant text not null,
    thread_id text not null,
    message_seq integer not null,
    message_id text not null,
    run_id text,
    visibility text not null,
    data blob not null,
    primary key (tenant, thread_id, message_seq),
    unique (tenant, thread_id, message_id)
);
create index messages_run on messages (tenant, thread_id, run_id, message_seq)
    where run_id is not null;

-- One row for each segment: the entries that one commit appended for one run. `data` are its items.
create table events (
    tenant text not null,
    thread_id text not null,
    last_seq integer not null,
    first_seq integer not null,
    run_id text,
    at integer not null,
    boundary integer not null,
    data blob not null,
    primary key (tenant, thread_id, last_seq)
);
create index events_run on events (tenant, run_id, last_seq) where run_id is not null;

create table tickets (
    tenant text not null,
    ticket_id text not null,
    thread_id text not null,
    run_id text not null,
    status text not null,
    opened_at integer not null,
    expires_at integer,
    data blob not null,
    primary key (tenant, ticket_id)
);
create index tickets_opened on tickets (tenant, opened_at, ticket_id);
create index tickets_run on tickets (tenant, run_id, opened_at, ticket_id);
create index tickets_thread on tickets (tenant, thread_id, opened_at, ticket_id);
-- Nearly all tickets are closed, so a list of closed ones walks one of the above.
create index tickets_open on tickets (tenant, opened_at, ticket_id) where status = 'open';
create index tickets_open_of_run on tickets (tenant, run_id, ticket_id) where status = 'open';
create index tickets_expiry on tickets (expires_at) where status = 'open' and expires_at is not null;

-- Specifications that runs are pinned to, by the hash of their content.
create table resolutions (
    tenant text not null,
    resolution_id text not null,
    data blob not null,
    primary key (tenant, resolution_id)
) without rowid;

-- Written by the readiness check, so that the check takes the way of every commit.
create table probe (
    id integer primary key check (id = 1),
    at integer not null
);
