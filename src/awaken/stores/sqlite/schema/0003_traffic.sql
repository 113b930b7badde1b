-- What the traffic on a busy thread needs.

-- When the thread was served last, so that one with a long queue goes behind others that wait.
alter table thread_heads add column served_at integer not null default 0;

-- What is remembered for a while and belongs to no run.
create table notes (
    tenant text not null,
    kind text not null,
    key text not null,
    expires_at integer not null,
    data blob not null,
    primary key (tenant, kind, key)
) without rowid;
create index notes_expiry on notes (expires_at);
