-- Every statement that the journal runs. A line with a name begins a statement; the comment under it says what for.
-- Rules: rows are found by number or name, never by time; what was numbered once is never numbered again; bodies are
-- JSON of the frozen nouns of `anew.model`, and what is compared or searched stands in columns beside them.

-- name: schema
-- Version 1. A later version adds a statement that leads from one to the next, and never edits this one's tables.
create table state (
    one integer primary key check (one = 1),
    owner text not null,
    last_port integer not null
);
create table projects (
    name text primary key,
    last_release integer not null default 0
);
create table releases (
    project text not null references projects (name),
    number integer not null,
    digest text not null,
    body text not null,
    primary key (project, number),
    unique (project, digest)
);
create table environments (
    id integer primary key autoincrement,
    project text not null,
    name text not null,
    preview_port integer not null unique,
    settings text not null,
    wish integer not null default 0,
    wish_kind text not null default 'rollout',
    serving integer not null default 0,
    last_generation integer not null default 0,
    last_event integer not null default 0,
    last_hash text not null,
    unique (project, name)
);
create table generations (
    environment integer not null references environments (id),
    number integer not null,
    body text not null,
    primary key (environment, number)
);
create table sealed (
    environment integer not null,
    generation integer not null,
    service text not null,
    digest text not null,
    is_new integer not null,
    primary key (environment, generation, service),
    foreign key (environment, generation) references generations (environment, number)
);
create table seal_groups (
    environment integer not null references environments (id),
    name text not null,
    service text not null,
    digest text not null,
    label text not null unique,
    body text not null,
    next_ordinal integer not null default 0,
    deaths text not null default '[]',
    outcome text not null default '',
    is_forgotten integer not null default 0,
    primary key (environment, name)
);
create unique index one_group_per_seal on seal_groups (environment, service, digest) where is_forgotten = 0;
create table rollouts (
    id integer primary key autoincrement,
    environment integer not null references environments (id),
    version integer not null default 0,
    is_over integer not null default 0,
    body text not null
);
create unique index one_rollout_under_way on rollouts (environment) where is_over = 0;
create table allotments (
    id integer primary key autoincrement,
    environment integer not null,
    group_name text not null,
    ordinal integer not null,
    service text not null,
    name text not null unique,
    port integer not null,
    allotted real not null,
    launched real not null default 0,
    draining real not null default 0,
    ended real not null default 0,
    outcome text not null default '',
    is_death integer not null default 0,
    is_ended integer not null default 0,
    unique (environment, group_name, ordinal),
    foreign key (environment, group_name) references seal_groups (environment, name)
);
create unique index one_allotment_per_port on allotments (port) where is_ended = 0;
create table lent_ports (
    port integer primary key,
    pid integer not null,
    started integer not null
);
create table verdicts (
    key text primary key,
    body text not null
);
create table attempts (
    number integer primary key autoincrement,
    environment integer not null references environments (id),
    step text not null,
    begun real not null,
    ended real not null default 0,
    outcome text not null default ''
);
create table events (
    environment integer not null references environments (id),
    number integer not null,
    at real not null,
    kind text not null,
    text text not null,
    facts text not null,
    hash text not null,
    primary key (environment, number)
) without rowid;

-- name: schema_2
-- From version 1 to 2: tasks, doors and secrets. A door is a port of the edge that belongs to a group while it is there.
-- Of secrets: A row stays for good, so that a version is never given twice; what is revoked is erased
-- from it. `recipient` is the public half of the key that the ciphertext is made for.
create table secrets (
    id integer primary key autoincrement,
    environment integer not null references environments (id),
    name text not null,
    version integer not null,
    at real not null,
    revoked real not null default 0,
    is_revoked integer not null default 0,
    recipient text not null,
    mac text not null,
    ciphertext blob not null,
    unique (environment, name, version)
);
alter table allotments add column task text not null default '';
alter table allotments add column due real not null default 0;
create index runs_of_a_task on allotments (environment, task, id) where task <> '';
create table doors (
    port integer primary key,
    environment integer not null,
    group_name text not null,
    service text not null,
    foreign key (environment, group_name) references seal_groups (environment, name)
);

-- name: schema_3
-- From version 2 to 3: what touched an instance, who asked for it to leave, and how much memory it had.
alter table allotments add column tainted text not null default '';
alter table allotments add column aside text not null default '';
alter table allotments add column hold real not null default 0;
alter table allotments add column peak_memory integer not null default 0;

-- name: make_state
-- The one row that says whose state this is.
insert into state (one, owner, last_port) values (1, :owner, :last_port);

-- name: state
-- Whose state this is, and the port that was given last.
select owner, last_port from state;

-- name: set_last_port
-- Where the search for the next free port begins.
update state set last_port = :port;

-- name: reserved_ports
-- Every port that is promised to somebody.
select preview_port as port from environments
union select port from allotments where is_ended = 0
union select port from doors
union select port from lent_ports;

-- name: add_door
-- A group gets a port of the edge, through which it reaches a service.
insert into doors (port, environment, group_name, service) values (:port, :environment, :group_name, :service);

-- name: close_doors
-- What a group had is free again.
delete from doors where environment = :environment and group_name = :group_name;

-- name: lent_ports
-- Who borrowed which port.
select port, pid, started from lent_ports;

-- name: lend_port
-- Promise a port to a process.
insert into lent_ports (port, pid, started) values (:port, :pid, :started);

-- name: return_port
-- Take a borrowed port back; nothing happens if it was not lent.
delete from lent_ports where port = :port;

-- name: add_environment
-- The first use of an environment.
insert into environments (project, name, preview_port, settings, last_hash)
values (:project, :name, :preview_port, :settings, :last_hash);

-- name: environment
-- One environment by its name.
select id, project, name, preview_port, settings, wish, wish_kind, serving from environments
where project = :project and name = :name;

-- name: environments
-- All environments of the machine.
select id, project, name, preview_port, settings, wish, wish_kind, serving from environments order by project, name;

-- name: save_settings
-- What the file said of the environment when somebody last acted on it.
update environments set settings = :settings where id = :environment and settings <> :settings;

-- name: save_preview_port
-- Another preview port, for an environment whose edge is down.
update environments set preview_port = :port where id = :environment;

-- name: set_wish
-- The wish; by the caller's own reading inside the same transaction a compare-and-set.
update environments set wish = :generation, wish_kind = :kind where id = :environment;

-- name: set_serving
-- The generation that has the traffic.
update environments set serving = :generation where id = :environment;

-- name: progress
-- What the next generation's number and `previous` are made of.
select wish, serving, last_generation from environments where id = :environment;

-- name: set_last_generation
-- Numbers are never reused, so the last one is remembered apart from the rows.
update environments set last_generation = :number where id = :environment;

-- name: add_project
-- The counter of a project's releases.
insert into projects (name) values (:project) on conflict (name) do nothing;

-- name: last_release
-- The number that was given last.
select last_release from projects where name = :project;

-- name: set_last_release
-- See `last_release`.
update projects set last_release = :number where name = :project;

-- name: add_release
-- A release under its next number.
insert into releases (project, number, digest, body) values (:project, :number, :digest, :body);

-- name: release_by_digest
-- The release that has this identity.
select body from releases where project = :project and digest = :digest;

-- name: release_by_number
-- The release that people call by this number.
select body from releases where project = :project and number = :number;

-- name: releases_as_they_are
-- The releases of a project with what is said of them beside them.
select number, digest, body from releases where project = :project order by number;

-- name: releases
-- All releases of a project, newest first.
select body from releases where project = :project order by number desc;

-- name: newest_releases
-- The newest release of each project.
select body from releases r where number = (select max(number) from releases where project = r.project) order by project;

-- name: release_numbers
-- The names that can be asked for.
select number from releases where project = :project order by number desc;

-- name: add_generation
-- A sealed generation under its next number.
insert into generations (environment, number, body) values (:environment, :number, :body);

-- name: generation
-- One generation.
select body from generations where environment = :environment and number = :number;

-- name: generations
-- All generations of an environment, oldest first.
select body from generations where environment = :environment order by number;

-- name: save_generation
-- What became of a generation; its members never change.
update generations set body = :body where environment = :environment and number = :number;

-- name: add_sealed
-- Which seal a generation gave a service, and whether it brought that seal in.
insert into sealed (environment, generation, service, digest, is_new)
values (:environment, :generation, :service, :digest, :is_new);

-- name: ended_with_seal
-- Generations whose rollout ended, with their seals, newest first.
select s.generation, s.service, s.digest, s.is_new, g.body
from sealed s join generations g on g.environment = s.environment and g.number = s.generation
where s.environment = :environment and json_extract(g.body, '$.outcome') <> ''
order by s.generation desc, s.service;

-- name: add_group
-- A group that its generation launches first.
insert into seal_groups (environment, name, service, digest, label, body)
values (:environment, :name, :service, :digest, :label, :body);

-- name: groups
-- Groups that are not disposed of.
select name, service, digest, body, next_ordinal, deaths, outcome from seal_groups
where environment = :environment and is_forgotten = 0 order by name;

-- name: group
-- One group, disposed of or not.
select name, service, next_ordinal, deaths, outcome, is_forgotten from seal_groups
where environment = :environment and name = :name;

-- name: group_body
-- What is recorded of one group.
select body from seal_groups where environment = :environment and name = :name;

-- name: revive_group
-- A group that may have been disposed of stands again.
update seal_groups set is_forgotten = 0, body = :body, deaths = '[]', outcome = ''
where environment = :environment and name = :name;

-- name: label_taken
-- The environment whose instances would have the same names.
select e.project, e.name from seal_groups s join environments e on e.id = s.environment where s.label = :label;

-- name: all_groups
-- All groups there ever were.
select name, body, is_forgotten from seal_groups where environment = :environment order by name;

-- name: set_next_ordinal
-- Ordinals are never used twice.
update seal_groups set next_ordinal = max(next_ordinal, :next_ordinal)
where environment = :environment and name = :name;

-- name: save_deaths
-- How a group's instances died lately.
update seal_groups set deaths = :deaths, outcome = :outcome where environment = :environment and name = :name;

-- name: forget_group
-- A group is disposed of.
update seal_groups set is_forgotten = 1 where environment = :environment and name = :name;

-- name: add_rollout
-- A rollout begins.
insert into rollouts (environment, body) values (:environment, :body);

-- name: rollout_under_way
-- The rollout that has not ended; there is at most one.
select id, version, body from rollouts where environment = :environment and is_over = 0;

-- name: last_rollout
-- The newest rollout, ended or not.
select id, version, body from rollouts where environment = :environment order by id desc limit 1;

-- name: rollout
-- One rollout, ended or not.
select id, version, body from rollouts where environment = :environment and id = :id;

-- name: save_rollout
-- Compare-and-set: no row changes if another process was first.
update rollouts set version = version + 1, is_over = :is_over, body = :body
where environment = :environment and id = :id and version = :version and is_over = 0;

-- name: keep_windows
-- What the groups did since a stage was entered; the rollout has not moved by that, so its version stays.
update rollouts set body = :body where environment = :environment and id = :id and version = :version and is_over = 0;

-- name: allotment
-- What an ordinal of a group was given.
select name, group_name, ordinal, port, draining, task, tainted, aside, hold, launched, is_ended from allotments
where environment = :environment and group_name = :group_name and ordinal = :ordinal;

-- name: add_allotment
-- An ordinal is given, before anything is launched.
insert into allotments (environment, group_name, ordinal, service, name, port, allotted, task, due)
values (:environment, :group_name, :ordinal, :service, :name, :port, :at, :task, :due);

-- name: allotments
-- Ordinals in use.
select name, group_name, ordinal, port, draining, task, tainted, aside, hold, launched, is_ended from allotments
where environment = :environment and is_ended = 0 order by id;

-- name: tasks
-- The last run of every task.
select task, name, due, outcome from allotments
where id in (select max(id) from allotments where environment = :environment and task <> '' group by task);

-- name: instance
-- One instance by its name, with where it belongs.
select a.environment, a.group_name, a.launched, a.draining, a.aside, a.is_ended, e.project, e.name as environment_name
from allotments a join environments e on e.id = a.environment where a.name = :name;

-- name: set_launched
-- When an instance was launched.
update allotments set launched = :at where name = :name and launched = 0;

-- name: set_draining
-- When an instance's drain bound started.
update allotments set draining = :at where name = :name and draining = 0 and is_ended = 0;

-- name: set_tainted
-- What touched an instance; the first evidence counts.
update allotments set tainted = :evidence where name = :name and tainted = '' and is_ended = 0;

-- name: set_aside
-- Why somebody asks for an instance to leave, and until when it is kept then.
update allotments set aside = :reason, hold = :hold where name = :name and is_ended = 0;

-- name: end_allotment
-- The ordinal is used up and the port is free.
update allotments set ended = :at, outcome = :outcome, is_death = :is_death, is_ended = 1 where name = :name;

-- name: set_peak_memory
-- The most memory that an instance had.
update allotments set peak_memory = max(peak_memory, :bytes) where name = :name;

-- name: ended_in_group
-- How the instances of a group ended, oldest first.
select name, ended, outcome, is_death, tainted, peak_memory from allotments
where environment = :environment and group_name = :group_name and is_ended = 1 order by id;

-- name: unfinished_in_group
-- How many instances a group still has.
select count(*) as number from allotments
where environment = :environment and group_name = :group_name and is_ended = 0;

-- name: instance_names
-- Instances of a service, a group or that name, ended ones too, newest first; everything if nothing is named.
select name from allotments
where environment = :environment and :target in ('', service, group_name, name) order by id desc;

-- name: verdict
-- What the image gate found for these images, tests and flags.
select body from verdicts where key = :key;

-- name: save_verdict
-- The last verdict counts.
insert into verdicts (key, body) values (:key, :body) on conflict (key) do update set body = excluded.body;

-- name: verdicts
-- Which image each verdict is about.
select key, case when json_valid(body) then coalesce(json_extract(body, '$.manifest'), '') else '' end as manifest
from verdicts;

-- name: forget_verdict
-- Its image is gone.
delete from verdicts where key = :key;

-- name: add_attempt
-- An effect is about to be tried.
insert into attempts (environment, step, begun) values (:environment, :step, :at);

-- name: attempt
-- One attempt, with where it belongs.
select a.environment, a.step, a.outcome, e.project, e.name
from attempts a join environments e on e.id = a.environment where a.number = :number;

-- name: end_attempt
-- How an attempt ended.
update attempts set ended = :at, outcome = :outcome where number = :number;

-- name: old_attempts
-- How many attempts began before a time.
select count(*) as number from attempts where begun < :before;

-- name: forget_attempts
-- The ledger has told of them; their numbers are not given again.
delete from attempts where begun < :before;

-- name: ledger_head
-- Number and hash of the last event.
select last_event, last_hash, project, name from environments where id = :environment;

-- name: set_ledger_head
-- See `ledger_head`.
update environments set last_event = :number, last_hash = :hash where id = :environment;

-- name: add_event
-- One more link of the chain.
insert into events (environment, number, at, kind, text, facts, hash)
values (:environment, :number, :at, :kind, :text, :facts, :hash);

-- name: seal_events
-- What was said when generations were sealed, oldest first.
select facts from events where environment = :environment and kind = 'decision' and text like 'seal r%' order by number;

-- name: newest_events
-- The end of the ledger, newest first.
select number, at, kind, text, facts, hash from events
where environment = :environment order by number desc limit :limit;

-- name: events_as_they_are
-- The whole ledger, oldest first, so that whatever somebody put there can be read.
select case typeof(number) when 'integer' then number else -1 end as number,
  case typeof(at) when 'real' then at else 0.0 end as at,
  cast(kind as blob) as kind, cast(text as blob) as text, cast(facts as blob) as facts, cast(hash as blob) as hash,
  typeof(number) = 'integer' and typeof(at) = 'real' and typeof(kind) = 'text' and typeof(text) = 'text'
  and typeof(facts) = 'text' and typeof(hash) = 'text' as is_plain
from events where environment = :environment order by events.number;

-- name: ledger_head_as_it_is
-- Number and hash of the last event, so that whatever somebody put there can be read.
select case typeof(last_event) when 'integer' then last_event else -1 end as number, cast(last_hash as blob) as hash
from environments where id = :environment;

-- name: event_hash
-- The hash of one event.
select hash from events where environment = :environment and number = :number;

-- name: latest_time
-- The latest time that was committed, whatever the clock says now.
select coalesce(max(at), 0.0) as at from events where environment = :environment;

-- name: add_secret
-- One more version of a secret.
insert into secrets (environment, name, version, at, recipient, mac, ciphertext)
values (:environment, :name, :version, :at, :recipient, :mac, :ciphertext);

-- name: secrets
-- All versions of all secrets of an environment, without what they hold, newest last.
select name, version, at, is_revoked, mac from secrets where environment = :environment order by id;

-- name: secret
-- One version, with what it holds.
select is_revoked, recipient, ciphertext from secrets
where environment = :environment and name = :name and version = :version;

-- name: revoke_secret
-- Nothing is left of a revoked version but that it was there.
update secrets set is_revoked = 1, revoked = case is_revoked when 0 then :at else revoked end, mac = '', ciphertext = x''
where environment = :environment and name = :name and version = :version;

-- name: made_for_other_keys
-- How many versions, anywhere in the state, can't be read with the key of `recipient`.
select count(*) as number from secrets where is_revoked = 0 and recipient <> :recipient;
