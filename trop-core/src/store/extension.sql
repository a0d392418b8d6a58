-- What trop adds to schema version 2, under names that no other program of version 2 uses.

-- The owners of leases. An owner is an open registry in one process, alive while it locks its file in the
-- data directory.
CREATE TABLE IF NOT EXISTS trop_owners (
    id INTEGER PRIMARY KEY,
    file TEXT NOT NULL UNIQUE,
    pid INTEGER NOT NULL,
    command TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- A lease is a row of reservations with a row here. The serial number distinguishes it from a later lease of
-- the same port.
CREATE TABLE IF NOT EXISTS trop_leases (
    port INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    label TEXT,
    directory TEXT NOT NULL
) STRICT;

-- A program that created reservations again may have left such rows. They would block the next lease of the
-- port.
DELETE FROM trop_leases
WHERE port NOT IN (SELECT port FROM reservations WHERE last_used_at = 253402300799);

-- Programs that do not know leases cannot end, move or replace one. The latest possible time marks the rows
-- that may belong to leases, so that other rows cost no query.
CREATE TRIGGER IF NOT EXISTS trop_leases_insert BEFORE INSERT ON reservations
WHEN EXISTS (SELECT 1 FROM trop_leases WHERE port = NEW.port)
BEGIN
    SELECT RAISE(ABORT, 'the port is leased by a running program');
END;
CREATE TRIGGER IF NOT EXISTS trop_leases_move BEFORE UPDATE OF port ON reservations
WHEN EXISTS (SELECT 1 FROM trop_leases WHERE port = NEW.port)
BEGIN
    SELECT RAISE(ABORT, 'the port is leased by a running program');
END;
CREATE TRIGGER IF NOT EXISTS trop_leases_delete BEFORE DELETE ON reservations
WHEN OLD.last_used_at = 253402300799 AND EXISTS (SELECT 1 FROM trop_leases WHERE port = OLD.port)
BEGIN
    SELECT RAISE(ABORT, 'the port is leased by a running program');
END;
CREATE TRIGGER IF NOT EXISTS trop_leases_update BEFORE UPDATE ON reservations
WHEN OLD.last_used_at = 253402300799 AND EXISTS (SELECT 1 FROM trop_leases WHERE port = OLD.port)
BEGIN
    SELECT RAISE(ABORT, 'the port is leased by a running program');
END;

-- The free ports, one bit each, so that the lowest one is found at constant cost; and those of them that have
-- rested since they were given up. A port that is taken loses both bits and gets back only the first. The set
-- is only a hint, because UNIQUE (port) decides. Whether a word has any such port is a column of its own,
-- which seldom changes: an index over `free <> 0` would be written with every port.
DROP TABLE IF EXISTS trop_free_ports;
CREATE TABLE trop_free_ports (
    word INTEGER PRIMARY KEY,
    free INTEGER NOT NULL,
    rested INTEGER NOT NULL,
    any_free INTEGER NOT NULL,
    any_rested INTEGER NOT NULL
) STRICT;
CREATE INDEX trop_free_ports_free ON trop_free_ports (word) WHERE any_free;
CREATE INDEX trop_free_ports_rested ON trop_free_ports (word) WHERE any_rested;

DROP TRIGGER IF EXISTS trop_free_ports_insert;
CREATE TRIGGER trop_free_ports_insert AFTER INSERT ON reservations
BEGIN
    UPDATE trop_free_ports
    SET free = free & ~(1 << (NEW.port & 63)), rested = rested & ~(1 << (NEW.port & 63))
    WHERE word = NEW.port >> 6;
    UPDATE trop_free_ports SET any_free = free <> 0, any_rested = rested <> 0
    WHERE word = NEW.port >> 6 AND (any_free > (free <> 0) OR any_rested > (rested <> 0));
END;
DROP TRIGGER IF EXISTS trop_free_ports_delete;
CREATE TRIGGER trop_free_ports_delete AFTER DELETE ON reservations
BEGIN
    UPDATE trop_free_ports SET free = free | (1 << (OLD.port & 63)) WHERE word = OLD.port >> 6;
    UPDATE trop_free_ports SET any_free = 1 WHERE word = OLD.port >> 6 AND NOT any_free;
END;
DROP TRIGGER IF EXISTS trop_free_ports_update;
CREATE TRIGGER trop_free_ports_update AFTER UPDATE OF port ON reservations
BEGIN
    UPDATE trop_free_ports SET free = free | (1 << (OLD.port & 63)) WHERE word = OLD.port >> 6;
    UPDATE trop_free_ports SET any_free = 1 WHERE word = OLD.port >> 6 AND NOT any_free;
    UPDATE trop_free_ports
    SET free = free & ~(1 << (NEW.port & 63)), rested = rested & ~(1 << (NEW.port & 63))
    WHERE word = NEW.port >> 6;
    UPDATE trop_free_ports SET any_free = free <> 0, any_rested = rested <> 0
    WHERE word = NEW.port >> 6 AND (any_free > (free <> 0) OR any_rested > (rested <> 0));
END;

INSERT OR REPLACE INTO metadata (key, value) VALUES ('ext_version', '2'), ('ext_compat', '2');
