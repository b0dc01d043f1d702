-- Upgrades the tables from version 1 of `schema.sql` to version 2.

ALTER TABLE request ADD COLUMN output_id TEXT;
ALTER TABLE request ADD COLUMN output_uri TEXT;
ALTER TABLE request ADD COLUMN stray INTEGER NOT NULL DEFAULT 0;
ALTER TABLE request ADD COLUMN ending TEXT;
ALTER TABLE request ADD COLUMN concluding INTEGER NOT NULL DEFAULT 0;
ALTER TABLE request ADD COLUMN life_ms INTEGER;
ALTER TABLE request ADD COLUMN note TEXT;
ALTER TABLE request ADD COLUMN report TEXT;
CREATE INDEX request_ending ON request (queue, sequence) WHERE state = 'ready' AND (cancel OR ending IS NOT NULL);
