-- What only the embedded engine has.

-- Points as they arrive. No other index: a row is appended, read once and deleted.
create table points (
    id {key},
    series bigint not null,
    time bigint not null,
    arrived bigint not null,
    kind bigint not null,
    number {real},
    words text,
    mark bigint
);
