-- What is deleted when it is old, or on request, and what was given up.

-- Which specification a run needs, so that one that no run needs is found by index.
alter table runs add column resolution_id text;
update runs set resolution_id = json_extract(cast(data as text), '$.resolution_id')
    where json_valid(cast(data as text));
create index runs_resolution on runs (tenant, resolution_id);

-- `compacted` tells what became of a done run's log: 0 as it was written, 1 compacted, 2 it is being
-- deleted, 3 it is gone.
drop index runs_uncompacted;
create index runs_done on runs (compacted, finished_at) where status = 'done';

-- The highest number of the log that was deleted; set by the purge, kept when the thread is put again.
alter table threads add column expired_seq integer not null default 0;

alter table tickets add column closed_at integer;
update tickets set closed_at = json_extract(cast(data as text), '$.closed_at')
    where status <> 'open' and json_valid(cast(data as text));
create index tickets_closed on tickets (closed_at) where status <> 'open';

-- A dead letter that was discarded has the state 'discarded', whatever its record says.
drop index dispatches_dead;
create index dispatches_dead on dispatches (finished_at)
    where state in ('dead_letter', 'discarded');
create index dispatches_letters on dispatches (tenant, finished_at, dispatch_id)
    where state = 'dead_letter';

-- Threads whose deletion was begun; nothing else of them is to be seen but rows not deleted yet.
create table deletions (
    tenant text not null,
    thread_id text not null,
    begun_at integer not null,
    data blob not null,
    primary key (tenant, thread_id)
) without rowid;
create index deletions_begun on deletions (begun_at);
