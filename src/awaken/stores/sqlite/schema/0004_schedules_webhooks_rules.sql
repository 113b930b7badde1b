-- What is to be done at times to come, what is to be told to others, and decisions that stand.

create table schedules (
    tenant text not null,
    schedule_id text not null,
    created_at integer not null,
    next_at integer,
    data blob not null,
    primary key (tenant, schedule_id)
) without rowid;
create index schedules_created on schedules (tenant, created_at, schedule_id);
create index schedules_due on schedules (next_at) where next_at is not null;

-- Messages to others that were not delivered yet, or were given up.
create table outbox (
    tenant text not null,
    message_id text not null,
    due_at integer not null,
    given_up integer not null,
    data blob not null,
    primary key (tenant, message_id)
) without rowid;
create index outbox_due on outbox (due_at);
create index outbox_given_up on outbox (given_up);

-- Standing decisions about calls of tools.
create table approval_rules (
    tenant text not null,
    rule_id text not null,
    created_at integer not null,
    data blob not null,
    primary key (tenant, rule_id)
) without rowid;
create index approval_rules_created on approval_rules (tenant, created_at, rule_id);
