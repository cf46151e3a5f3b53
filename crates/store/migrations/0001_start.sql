-- Ids and digests are text, times are milliseconds since 1970, booleans are 0 and 1, JSON is text.
-- An artifact is the id of a script with the number of its version, or the id of a firmware without one; its digest
-- and its size.
-- Columns that end in _key hold the same in lower case, to search and sort by.

-- Gateways in processes of their own. Keys are public halves, in hexadecimal digits; without key one is revoked.
create table gateways (
    id text primary key,
    name text not null,
    name_key text not null,
    key text,
    next_key text,
    selector text not null,
    seen_at bigint,
    address text,
    created_at bigint not null,
    revision bigint not null
);
create unique index gateways_name on gateways (name_key);

create table devices (
    id text primary key,
    name text not null,
    name_key text not null,
    search_key text not null,
    description text not null,
    dialect text not null,
    external_id text,
    tags text not null,
    capabilities text not null,
    unauthenticated_allowed bigint not null,
    allowed_from text,
    silence_max_ms bigint,
    line text,
    created_at bigint not null,
    revision bigint not null
);
create unique index devices_external_id on devices (external_id, dialect);
create index devices_name on devices (name_key, id);

create table device_tags (
    device text not null references devices (id) on delete cascade,
    tag text not null,
    tag_key text not null,
    primary key (device, tag)
);
create index device_tags_tag on device_tags (tag, device);

-- What devices reported of themselves, one row per attribute. kind: 0 number, 1 boolean (number is 0 or 1), 2 text.
create table reported (
    device text not null references devices (id) on delete cascade,
    name text not null,
    kind bigint not null,
    number {real},
    words text,
    primary key (device, name)
);

-- source: 'assigned' by people or 'announced' by the device.
create table device_capabilities (
    device text not null references devices (id) on delete cascade,
    capability text not null,
    source text not null,
    primary key (device, capability, source)
);
create index device_capabilities_capability on device_capabilities (capability, device);

-- Capabilities that were described. Others may be had or required too.
create table capabilities (
    name text primary key,
    description text not null
);

create table credentials (
    device text primary key references devices (id) on delete cascade,
    digest text not null,
    shared_at bigint,
    shared_from text
);
create unique index credentials_digest on credentials (digest);

-- Client certificates, by the digest of their bytes.
create table certificates (
    digest text primary key,
    device text not null references devices (id) on delete cascade,
    issued_at bigint not null,
    expires_at bigint not null
);
create index certificates_device on certificates (device, issued_at);

-- Rotations that go on: the device has not used a new credential yet.
create table rotations (
    device text primary key references devices (id) on delete cascade,
    started_at bigint not null,
    sent_at bigint
);

-- The digests of secrets that were sent in a rotation.
create table next_credentials (
    digest text primary key,
    device text not null references rotations (device) on delete cascade,
    made_at bigint not null
);
create index next_credentials_device on next_credentials (device, made_at);

create table software (
    device text primary key references devices (id) on delete cascade,
    active_script text, active_version bigint, active_digest text, active_size bigint,
    pending_deployment text,
    pending_artifact text, pending_version bigint, pending_digest text, pending_size bigint,
    running_script text, running_version bigint, running_digest text, running_size bigint,
    good_script text, good_version bigint, good_digest text, good_size bigint,
    firmware text, firmware_digest text, firmware_size bigint,
    fetched_at bigint,
    woken_at bigint,
    boots text not null,
    problem text,
    revision bigint not null
);
create index software_active on software (active_script);
create index software_pending on software (pending_artifact);
create index software_running on software (running_script);
create index software_firmware on software (firmware);

create table presence (
    device text primary key references devices (id) on delete cascade,
    online bigint not null,
    unreachable bigint not null,
    gateway text references gateways (id) on delete set null,
    seen_at bigint not null,
    address text not null
);
create index presence_gateway on presence (gateway);

-- Which node of several has a device's connections. Grows with each take-over: fence.
create table holders (
    device text primary key references devices (id) on delete cascade,
    node text,
    fence bigint not null
);
create index holders_node on holders (node) where node is not null;

-- The devices that showed their own credential through a gateway.
create table gateway_devices (
    gateway text not null references gateways (id) on delete cascade,
    device text not null references devices (id) on delete cascade,
    primary key (gateway, device)
);

-- Up to which number what a gateway kept while it had no link was taken, for each spool and lane of it.
create table gateway_taken (
    gateway text not null references gateways (id) on delete cascade,
    spool bigint not null,
    lane text not null,
    number bigint not null,
    primary key (gateway, spool, lane)
);

-- Unknown devices that asked to be let in. Never holds a secret.
create table knocks (
    id text primary key,
    name text not null,
    dialect text not null,
    client_id text,
    via text not null,
    address text not null,
    has_secret bigint not null,
    count bigint not null,
    first_at bigint not null,
    last_at bigint not null,
    standing text not null
);

-- What a device last said of itself. safe_mode is 0 or 1; running is a digest, '' for nothing, null if it was not said.
create table reports (
    device text primary key references devices (id) on delete cascade,
    model text,
    firmware text,
    version text,
    reset text,
    capabilities text not null,
    free_memory bigint,
    running text,
    safe_mode bigint not null,
    attributes text not null,
    at bigint not null
);

-- The newest lines of each device's log.
create table log_lines (
    id {serial},
    device text not null references devices (id) on delete cascade,
    at bigint not null,
    said_at bigint,
    level text not null,
    line text not null
);
create index log_lines_device on log_lines (device, id);

-- Documents of devices; the one without a name has the name ''. *_times are the same trees with a time for each leaf,
-- expiry is one with the times when desired values end. deadline: when something is to be done about it.
create table shadows (
    device text not null references devices (id) on delete cascade,
    name text not null,
    desired text not null, desired_times text not null,
    reported text not null, reported_times text not null,
    tags text not null,
    version bigint not null,
    updated_at bigint not null,
    is_deleted bigint not null,
    expiry text not null,
    told_times bigint not null, told_at bigint not null, tell_again_at bigint,
    deadline bigint,
    revision bigint not null,
    primary key (device, name)
);
create index shadows_deadline on shadows (deadline) where deadline is not null;

-- The newest revisions of each shadow.
create table shadow_revisions (
    device text not null references devices (id) on delete cascade,
    name text not null,
    revision bigint not null,
    version bigint not null,
    at bigint not null,
    actor_kind text not null,
    actor text not null,
    desired text not null,
    reported text not null,
    is_deleted bigint not null,
    primary key (device, name, revision)
);

create index shadow_revisions_at on shadow_revisions (at);

-- From which origin the hub may fetch the picture of a device.
create table cameras (
    device text primary key not null references devices (id) on delete cascade,
    origin text not null
);

-- Versions that a device is not given any more.
create table quarantines (
    device text not null references devices (id) on delete cascade,
    digest text not null,
    reason text not null,
    traceback text,
    at bigint not null,
    primary key (device, digest)
);

create table scripts (
    id text primary key,
    number bigint not null,
    name text not null,
    name_key text not null,
    search_key text not null,
    description text not null,
    category text not null,
    language text not null,
    requires text not null,
    latest_version bigint not null,
    created_at bigint not null,
    updated_at bigint not null,
    revision bigint not null
);
create unique index scripts_name on scripts (name);
create unique index scripts_number on scripts (number);

create table requirements (
    script text not null references scripts (id) on delete cascade,
    capability text not null,
    primary key (script, capability)
);
create index requirements_capability on requirements (capability, script);

create table versions (
    script text not null references scripts (id) on delete cascade,
    version bigint not null,
    author text not null,
    created_at bigint not null,
    digest text not null,
    size_bytes bigint not null,
    comment text not null,
    error_line bigint,
    error_message text,
    primary key (script, version)
);
create index versions_digest on versions (digest);

-- The scripts that are generated for flows: one of each board that ever ran steps. They are not in the library.
create table programs (
    device text primary key references devices (id) on delete cascade,
    script text not null references scripts (id) on delete cascade
);
create index programs_script on programs (script);

create table flows (
    id text primary key,
    name text not null,
    name_key text not null,
    description text not null,
    latest_version bigint not null,
    deployed bigint,
    created_at bigint not null,
    updated_at bigint not null,
    revision bigint not null
);
create unique index flows_name on flows (name_key);

-- graph: as JSON, as people write it.
create table flow_versions (
    flow text not null references flows (id) on delete cascade,
    version bigint not null,
    author text not null,
    created_at bigint not null,
    comment text not null,
    graph text not null,
    primary key (flow, version)
);

-- places: a JSON object of steps, each with 'hub' or the id of a device. The last number of a flow holds.
create table layouts (
    flow text not null references flows (id) on delete cascade,
    number bigint not null,
    version bigint not null,
    at bigint not null,
    cause text not null,
    places text not null,
    primary key (flow, number)
);

create table flow_limits (
    flow text not null references flows (id) on delete cascade,
    device text not null references devices (id) on delete cascade,
    steps bigint not null,
    reason text not null,
    at bigint not null,
    primary key (flow, device)
);

-- document: as JSON, as people write it.
create table rules (
    id text primary key,
    name text not null,
    name_key text not null,
    description text not null,
    enabled_at bigint,
    document text not null,
    created_at bigint not null,
    updated_at bigint not null,
    revision bigint not null
);
create unique index rules_name on rules (name_key);

-- How rules stand with devices where that is not as at their beginning; device '' is none. body: JSON.
create table rule_states (
    rule text not null references rules (id) on delete cascade,
    device text not null,
    body text not null,
    primary key (rule, device)
);

-- That rules fired. trace: JSON; problems: a JSON list of what could not be done.
create table firings (
    seq {serial},
    id text not null,
    rule text not null references rules (id) on delete cascade,
    device text references devices (id) on delete cascade,
    at bigint not null,
    trace text not null,
    ended_at bigint,
    done bigint not null,
    problems text not null
);
create unique index firings_id on firings (id);
create index firings_rule on firings (rule, seq);
create index firings_at on firings (at);
create index firings_device on firings (device, at);
create index firings_undone on firings (seq) where done = 0;

-- What rules raised. The rule may be gone. value: JSON.
create table alarms (
    id text primary key,
    rule text not null,
    rule_name text not null,
    device text references devices (id) on delete cascade,
    severity text not null,
    message text not null,
    value text,
    state text not null,
    raised_at bigint not null,
    acknowledged_at bigint,
    acknowledged_by text,
    cleared_at bigint,
    cleared_by text,
    revision bigint not null
);
create unique index alarms_open on alarms (rule, coalesce(device, '')) where state <> 'cleared';
create index alarms_state on alarms (state, raised_at);
create index alarms_device on alarms (device, raised_at);
create index alarms_rule on alarms (rule, raised_at);

create table assignments (
    device text not null references devices (id) on delete cascade,
    script text not null references scripts (id) on delete cascade,
    primary key (device, script)
);
create index assignments_script on assignments (script, device);

-- Bytes in pieces, each with its own digest.
create table artifacts (
    digest text primary key,
    size_bytes bigint not null
);

create table pieces (
    artifact text not null references artifacts (digest) on delete cascade,
    number bigint not null,
    digest text not null,
    body {bytes} not null,
    primary key (artifact, number)
);

create table firmware (
    id text primary key,
    name text not null,
    version text not null,
    platform text not null,
    build text not null,
    digest text not null,
    size_bytes bigint not null,
    manifest text,
    notes text not null,
    created_by text not null,
    created_at bigint not null,
    search_key text not null,
    revision bigint not null
);
create unique index firmware_label on firmware (version, name, platform, build);
create index firmware_digest on firmware (digest);

create table deployments (
    id text primary key,
    title text not null,
    cause text not null,
    cause_of text,
    artifact text, version bigint, digest text, size bigint,
    selector text,
    state text not null,
    health_window bigint not null,
    created_by text not null,
    created_at bigint not null,
    ended_at bigint,
    revision bigint not null
);
create index deployments_state on deployments (state);
create index deployments_cause on deployments (cause_of, cause);

-- job: what the topics of AWS know of it, as JSON.
create table tasks (
    deployment text not null references deployments (id) on delete cascade,
    device text not null references devices (id) on delete cascade,
    artifact text not null, version bigint, digest text not null, size bigint not null,
    previous_artifact text, previous_version bigint, previous_digest text, previous_size bigint,
    state text not null,
    is_open bigint not null,
    reason text,
    traceback text,
    tries bigint not null,
    health_window bigint not null,
    created_at bigint not null,
    updated_at bigint not null,
    deadline bigint,
    job text,
    revision bigint not null,
    primary key (deployment, device)
);
create unique index tasks_open on tasks (device) where is_open = 1;
create index tasks_device on tasks (device, created_at);
create index tasks_artifact on tasks (artifact, deployment);
create index tasks_state on tasks (deployment, state);
create index tasks_deadline on tasks (deadline) where deadline is not null;

create table commands (
    id text primary key,
    name text not null,
    arguments text not null,
    selector text,
    devices bigint not null,
    created_by text not null,
    created_at bigint not null,
    expires_at bigint not null
);
create index commands_created on commands (created_at);

create table executions (
    command text not null references commands (id) on delete cascade,
    device text not null references devices (id) on delete cascade,
    state text not null,
    is_open bigint not null,
    tries bigint not null,
    result text,
    reason text,
    updated_at bigint not null,
    deadline bigint,
    revision bigint not null,
    primary key (command, device)
);
create index executions_device on executions (device, command);
create index executions_open on executions (device) where is_open = 1;
create index executions_state on executions (command, state);
create index executions_deadline on executions (deadline) where deadline is not null;

create table users (
    id text primary key,
    name text not null,
    name_key text not null,
    role text not null,
    disabled bigint not null,
    password_hash text not null,
    must_change_password bigint not null,
    created_at bigint not null,
    last_login_at bigint,
    revision bigint not null
);
create unique index users_name on users (name_key);

-- owner: null if a program made it, or if its owner is gone. document: as JSON, as people write it.
create table dashboards (
    id text primary key,
    owner text references users (id) on delete set null,
    is_shared bigint not null,
    name text not null,
    name_key text not null,
    description text not null,
    blocks bigint not null,
    document text not null,
    created_at bigint not null,
    updated_at bigint not null,
    revision bigint not null
);
create index dashboards_name on dashboards (name_key);

create table public_links (
    id text primary key,
    dashboard text not null references dashboards (id) on delete cascade,
    label text not null,
    digest text not null,
    created_by text not null,
    created_at bigint not null,
    expires_at bigint,
    last_used_at bigint
);
create unique index public_links_digest on public_links (digest);
create index public_links_dashboard on public_links (dashboard);

-- Customers' rights to devices. A device has one owner. name is what the customer calls the device.
create table shares (
    device text not null references devices (id) on delete cascade,
    user_id text not null references users (id) on delete cascade,
    rights text not null,
    until bigint,
    name text,
    name_shown bigint not null,
    created_by text not null,
    created_at bigint not null,
    revision bigint not null,
    primary key (device, user_id)
);
create index shares_user on shares (user_id, device);
create unique index shares_owner on shares (device) where rights = 'owner';

-- Codes that serve once. gift: 'account', 'claim' (makes the owner of the device) or 'share'.
create table invitations (
    id text primary key,
    digest text not null,
    gift text not null,
    device text references devices (id) on delete cascade,
    rights text,
    until bigint,
    created_by text not null,
    created_at bigint not null,
    expires_at bigint
);
create unique index invitations_digest on invitations (digest);
create unique index invitations_claim on invitations (device) where gift = 'claim';
create index invitations_device on invitations (device, created_at);

create table logins (
    digest text primary key,
    user_id text not null references users (id) on delete cascade,
    created_at bigint not null,
    seen_at bigint not null,
    address text not null,
    csrf text not null
);
create index logins_user on logins (user_id);

create table tokens (
    id text primary key,
    name text not null,
    role text not null,
    digest text not null,
    has_access_key bigint not null,
    created_at bigint not null,
    expires_at bigint,
    last_used_at bigint
);
create unique index tokens_name on tokens (name);
create unique index tokens_digest on tokens (digest);

-- Keys of Pyaiot gateways. fernet is the key with which their tokens are read; secret is the digest of what is in them.
create table pyaiot_keys (
    id text primary key,
    name text not null,
    fernet text not null,
    secret text not null,
    devices text,
    token_age_max bigint,
    created_at bigint not null,
    last_used_at bigint
);
create unique index pyaiot_keys_name on pyaiot_keys (name);

-- Pusher apps. base_token is the digest of the token of an original base that comes in by the app.
create table pusher_apps (
    id text primary key,
    number bigint not null,
    name text not null,
    key text not null,
    base_token text,
    created_at bigint not null
);
create unique index pusher_apps_name on pusher_apps (name);
create unique index pusher_apps_key on pusher_apps (key);
create unique index pusher_apps_number on pusher_apps (number);

create table grants (
    id text primary key,
    device text references devices (id) on delete cascade,
    tag text,
    filter text not null,
    publish bigint not null,
    subscribe bigint not null
);
create index grants_device on grants (device);
create index grants_tag on grants (tag);

-- What the MQTT broker keeps. Sessions are referred to by the broker's own numbers; what belongs to a session is
-- removed with it by the statement that removes it.
create table mqtt_sessions (
    serial {key},
    device text,
    token text,
    client_id text not null,
    expiry_ms bigint not null,
    ends_at bigint,
    will_topic text, will_payload {bytes}, will_properties {bytes}, will_qos bigint, will_retain bigint,
    will_delay_ms bigint, will_expiry_ms bigint, will_due_at bigint,
    -- The node that has it; null for a hub that is alone.
    node text
);

create index mqtt_sessions_client on mqtt_sessions (client_id);
create index mqtt_sessions_node on mqtt_sessions (node);

-- Nodes of the hub that have sessions: how often sessions were taken from one (what it writes is guarded by that), how
-- often what others have to know of its sessions has changed, and when its broker was last alive.
create table mqtt_nodes (
    node text primary key,
    lost bigint not null,
    changes bigint not null,
    alive_at bigint not null,
    -- The last batch that it wrote in this life, and what "lost" was then.
    batch bigint not null,
    batch_lost bigint not null
);

-- Each row is the numbers of many sessions, given to a node.
create table mqtt_serials (
    block {serial},
    node text not null
);

-- Messages of QoS 1 and 2 for sessions that another node has than the one they were published on, until that node makes
-- them entries.
create table mqtt_passed (
    id {serial},
    session bigint not null,
    topic text not null,
    payload {bytes} not null,
    properties {bytes} not null,
    published_qos bigint not null,
    qos bigint not null,
    retain bigint not null,
    ids text not null,
    expires_at bigint
);

create index mqtt_passed_session on mqtt_passed (session, id);

create table mqtt_subscriptions (
    session bigint not null,
    filter text not null,
    qos bigint not null,
    no_local bigint not null,
    retain_as_published bigint not null,
    id bigint,
    primary key (session, filter)
);

-- Messages of QoS 1 and 2 that a session's client has not acknowledged, in the order of delivery.
create table mqtt_entries (
    session bigint not null,
    number bigint not null,
    topic text not null,
    payload {bytes} not null,
    properties {bytes} not null,
    published_qos bigint not null,
    qos bigint not null,
    retain bigint not null,
    ids text not null,
    expires_at bigint,
    progress bigint not null,
    primary key (session, number)
);

-- Messages of QoS 2 that a client has published and not released.
create table mqtt_received (
    session bigint not null,
    packet_id bigint not null,
    primary key (session, packet_id)
);

create table mqtt_retained (
    topic text primary key,
    payload {bytes} not null,
    properties {bytes} not null,
    qos bigint not null,
    expires_at bigint,
    -- Larger for what was retained later. An empty payload with several nodes: that there is nothing any more.
    stamp bigint not null
);

create index mqtt_retained_stamp on mqtt_retained (stamp);

create table groups (
    id text primary key,
    name text not null,
    name_key text not null,
    selector text not null,
    description text not null,
    created_at bigint not null,
    revision bigint not null
);
create unique index groups_name on groups (name_key);

-- Addresses outside that changes are posted to. changes is a list of patterns.
create table webhooks (
    id text primary key,
    name text not null,
    name_key text not null,
    url text not null,
    changes text not null,
    devices text,
    enabled bigint not null,
    disabled_because text,
    secret bigint not null,
    rotated_at bigint,
    after bigint not null,
    created_at bigint not null,
    revision bigint not null
);
create unique index webhooks_name on webhooks (name_key);

-- What is to be posted to a webhook or mailed, in the order of number. recipient: the id of the webhook, or 'mail'.
-- state: 'waiting' until at, 'delivered' or 'dead' since then.
create table deliveries (
    id text primary key,
    number bigint not null,
    recipient text not null,
    webhook text references webhooks (id) on delete cascade,
    event text not null,
    body text not null,
    state text not null,
    at bigint not null,
    tries bigint not null,
    until bigint not null,
    status bigint,
    answer text,
    created_at bigint not null,
    revision bigint not null
);
create unique index deliveries_number on deliveries (number);
create index deliveries_state on deliveries (recipient, state, number);
create index deliveries_webhook on deliveries (webhook);

create table changes (
    seq {serial},
    at bigint not null,
    actor_kind text not null,
    actor text not null,
    kind text not null,
    noun text not null,
    subject text not null,
    subject_name text not null,
    device text,
    before_json text,
    after_json text
);
create index changes_device on changes (device, seq) where device is not null;
create index changes_subject on changes (subject, seq);
create index changes_kind on changes (kind, seq);
create index changes_at on changes (at);

-- How the devices were used on each day that is over. firmware is a list of [version, devices].
create table usage_days (
    day bigint primary key,
    devices bigint not null,
    active bigint not null,
    online_ms bigint not null,
    switches bigint not null,
    firmware text not null
);

-- Numbers of deleted scripts, which are not given out again.
create table retired_numbers (
    number bigint primary key
);

-- Work that one node does for all. A holder that does not renew in time loses it; the epoch counts holders.
create table leases (
    work text primary key,
    holder text not null,
    node text not null,
    epoch bigint not null,
    until bigint not null
);

-- The nodes of a hub, each as it said last of itself. Times are by the clock of the database.
create table nodes (
    name text primary key,
    instance text not null,
    version text not null,
    started_at bigint not null,
    seen_at bigint not null,
    address text not null,
    figures text not null
);

-- How far a copy into this database is that is not complete: a row for each table, and one without a name. source: from
-- where; place: the key of the last row that is there, a JSON list.
create table copying (
    name text primary key,
    source text not null,
    place text not null,
    rows bigint not null
);

create table notes (
    name text primary key,
    body {bytes} not null
);

-- A series outlives its device until its chunks are removed, a few at a time. Its newest point is here as it was
-- at the last merge, as a chunk of one point; nothing if there was none.
create table series (
    id {key},
    device text references devices (id) on delete set null,
    metric text not null,
    -- In which hours there are chunks, and on which days roll-ups.
    hours {bytes} not null,
    days {bytes} not null,
    -- Before these hours since 1970 there are no points, minutes, hours any more: what is longer is known.
    points_from bigint not null,
    minutes_from bigint not null,
    hours_from bigint not null,
    newest {bytes} not null
);
create unique index series_metric on series (device, metric);

-- Points as they arrive are in 0001_embedded.sql and 0001_shared.sql.

-- The points of one series and hour, compressed. Ordered by hour, so that the chunks of an hour are written
-- side by side; which hours a series has is in its row.
create table chunks (
    hour bigint not null,
    series bigint not null,
    part bigint not null,
    body {bytes} not null,
    primary key (hour, series, part)
);

-- Summaries of the minutes (level 0), hours (1) and days (2) of a series; a row has those of an hour, a day, and
-- 32 days, counted from 1970.
create table rollups (
    level bigint not null,
    span bigint not null,
    series bigint not null,
    body {bytes} not null,
    primary key (level, span, series)
);
