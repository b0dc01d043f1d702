-- Upgrades the tables from version 2 of `schema.sql` to version 3.

ALTER TABLE request ADD COLUMN waited_ms INTEGER NOT NULL DEFAULT 0;
CREATE TABLE reached (
    host     TEXT    PRIMARY KEY,
    noted_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
