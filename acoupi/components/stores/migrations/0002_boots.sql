-- When a boot's monotonic clock stood at zero, by the clock once it was set: dates the
-- recordings that boot made before, also after another boot.
CREATE TABLE boot (
    id       TEXT PRIMARY KEY,
    began_on TEXT NOT NULL
) WITHOUT ROWID;

-- What is still to be corrected; looked at every minute.
CREATE INDEX recording_uncorrected ON recording (boot_id)
WHERE json_extract(capture, '$.clock.synchronised') = 0
    AND json_extract(capture, '$.clock.corrected') IS NULL;
