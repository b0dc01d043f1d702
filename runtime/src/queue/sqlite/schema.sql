-- Queues and plugins in a SQLite file. Times are milliseconds since 1970 by the machine's clock.

CREATE TABLE queue (
    name    TEXT    PRIMARY KEY,
    paused  INTEGER NOT NULL DEFAULT 0,
    fence   INTEGER NOT NULL DEFAULT 0, -- the last one given
    binding INTEGER,                    -- the number in force
    changes INTEGER NOT NULL DEFAULT 0  -- grows when there may be more to claim; idle workers watch it
) STRICT, WITHOUT ROWID;

-- The state is a column, so a request is in exactly one.
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
    at_ms        INTEGER NOT NULL, -- delayed: when it is due; leased: the lease's end; ended: when
    attempts     INTEGER NOT NULL DEFAULT 0,
    lost         INTEGER NOT NULL DEFAULT 0,
    cancel       INTEGER NOT NULL DEFAULT 0, -- whether a cancel is asked for
    error        TEXT,
    progress     TEXT, -- JSON, of the last claim
    receipt      TEXT,
    -- Of the last claim:
    fence        INTEGER,
    nonce        TEXT,
    worker       TEXT,
    binding      INTEGER,
    ended        TEXT, -- the verb that ended it
    -- Until the request has ended:
    output_id    TEXT, -- the output that the last claim's worker writes to
    output_uri   TEXT,
    stray        INTEGER NOT NULL DEFAULT 0, -- whether a claim was lost, so that only a worker can end the request
    ending       TEXT, -- why it is to be given up; the next claim ends it
    concluding   INTEGER NOT NULL DEFAULT 0, -- whether the last claim is there to end it
    -- Of a request that was retried as a dead letter: when its present life began.
    life_ms      INTEGER,
    note         TEXT, -- what else is to be said of how it ended
    report       TEXT, -- the URI of the report that its worker has kept
    waited_ms    INTEGER NOT NULL DEFAULT 0, -- how long it has waited for its next attempts after failures
    coded        TEXT, -- the code of the error or of the ending, a space, and the text that it is the code of
    UNIQUE (queue, id)
) STRICT;

CREATE INDEX request_ready ON request (queue, priority DESC, sequence) WHERE state = 'ready';
CREATE INDEX request_ending ON request (queue, sequence) WHERE state = 'ready' AND (cancel OR ending IS NOT NULL);
CREATE INDEX request_state ON request (queue, state, at_ms);
CREATE UNIQUE INDEX request_nonce ON request (queue, nonce) WHERE state = 'leased';

-- Where producers in other languages insert their documents, each of at most 64 KiB.
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
    code     TEXT -- of the reason
) STRICT;
CREATE INDEX invalid_queue ON invalid (queue, number);

-- Hosts (HOST:PORT) that have answered a worker.
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

CREATE TABLE binding (
    queue    TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    document TEXT    NOT NULL, -- JSON
    PRIMARY KEY (queue, number)
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 3;
