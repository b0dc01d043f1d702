-- Queues and plugins in a SQLite file. Times are milliseconds since 1970 by the machine's clock.

CREATE TABLE queue (
    name    TEXT    PRIMARY KEY,
    paused  INTEGER NOT NULL DEFAULT 0,
    fence   INTEGER NOT NULL DEFAULT 0, -- the last fence that was given
    binding INTEGER,                    -- the number of the binding in force
    changes INTEGER NOT NULL DEFAULT 0  -- grows when there may be more to claim; idle workers watch it
) STRICT, WITHOUT ROWID;

-- The state is a column, so a request is in exactly one state.
CREATE TABLE request (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    queue        TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    uri          TEXT    NOT NULL,
    input        TEXT    NOT NULL, -- JSON
    digest       TEXT    NOT NULL, -- of uri and input
    priority     INTEGER NOT NULL,
    submitted_ms INTEGER NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('ready', 'delayed', 'leased', 'done', 'dead', 'cancelled')),
    at_ms        INTEGER NOT NULL, -- when a delayed request is due, a lease ends, or an ended request ended
    attempts     INTEGER NOT NULL DEFAULT 0,
    lost         INTEGER NOT NULL DEFAULT 0, -- the leases that were lost since the last new checkpoint
    checkpoint   INTEGER NOT NULL DEFAULT 0, -- the bytes that the furthest checkpoint covers
    cancel       INTEGER NOT NULL DEFAULT 0, -- 1 if somebody has asked for a cancel
    error        TEXT,
    progress     TEXT, -- JSON, of the last claim
    receipt      TEXT,
    -- These columns describe the last claim:
    fence        INTEGER,
    nonce        TEXT,
    worker       TEXT,
    binding      INTEGER,
    ended        TEXT, -- the operation that ended the claim, or 'lost'
    -- These columns matter until the request has ended:
    output_id    TEXT, -- the output to which the worker of the last claim writes
    output_uri   TEXT,
    stray        INTEGER NOT NULL DEFAULT 0, -- 1 if an attempt may have left output: only a worker can end the request
    ending       TEXT, -- the reason why the next claim has to end the request
    concluding   INTEGER NOT NULL DEFAULT 0, -- 1 if the last claim only has to end the request
    -- The start of the request's present life, if this life began with a `dead retry`:
    life_ms      INTEGER,
    note         TEXT, -- a remark for people about how the request ended
    report       TEXT, -- the URI of the report that its worker has kept
    waited_ms    INTEGER NOT NULL DEFAULT 0, -- the total time that the request has waited for retries
    group_name   TEXT, -- the group of requests that it belongs to
    coded        TEXT, -- the code of `error` or of `ending`, a space, and the text to which the code belongs
    UNIQUE (queue, id)
) STRICT;

CREATE INDEX request_ready ON request (queue, priority DESC, sequence) WHERE state = 'ready';
CREATE INDEX request_ending ON request (queue, sequence) WHERE state = 'ready' AND (cancel OR ending IS NOT NULL);
CREATE INDEX request_state ON request (queue, state, at_ms);
CREATE INDEX request_group ON request (queue, group_name, sequence) WHERE group_name IS NOT NULL;
CREATE UNIQUE INDEX request_nonce ON request (queue, nonce) WHERE state = 'leased';

-- Producers in other languages insert their documents here, each of at most 64 KiB.
CREATE TABLE intake (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    queue    TEXT    NOT NULL,
    document TEXT    NOT NULL
);
CREATE INDEX intake_queue ON intake (queue, number);

CREATE TABLE invalid (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    queue    TEXT    NOT NULL,
    document TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    at_ms    INTEGER NOT NULL,
    code     TEXT -- the code of `reason`
) STRICT;
CREATE INDEX invalid_queue ON invalid (queue, number);

-- The hosts (HOST:PORT) that have answered a worker.
CREATE TABLE reached (
    host     TEXT    PRIMARY KEY,
    noted_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE component (
    sha256    TEXT    PRIMARY KEY,
    name      TEXT    NOT NULL,
    version   TEXT    NOT NULL,
    bytes     INTEGER NOT NULL,
    pushed_ms INTEGER NOT NULL,
    content   BLOB    NOT NULL
) STRICT;

-- Reference data of bindings.
CREATE TABLE data (
    sha256  TEXT PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;

CREATE TABLE binding (
    queue    TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    document TEXT    NOT NULL, -- JSON
    PRIMARY KEY (queue, number)
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 3;
