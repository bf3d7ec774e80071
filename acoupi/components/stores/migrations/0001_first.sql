-- Times are UTC, ISO 8601 with microseconds, so that text order is time order.
-- "number" keys are internal; "id" columns are the UUIDs the programs see.

CREATE TABLE deployment (
    number     INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    latitude   REAL,
    longitude  REAL,
    started_on TEXT NOT NULL,
    ended_on   TEXT,
    -- 1 when it came along with a recording rather than being started here
    adopted    INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE recording (
    number         INTEGER PRIMARY KEY,
    id             TEXT NOT NULL UNIQUE,
    deployment     INTEGER NOT NULL REFERENCES deployment (number),
    created_on     TEXT NOT NULL,
    duration       REAL NOT NULL,
    samplerate     INTEGER NOT NULL,
    audio_channels INTEGER,
    time_expansion REAL,
    -- where the file is now; NULL when there is none
    path           TEXT,
    -- where the file was when the recording was stored
    origin         TEXT,
    -- JSON of how it was captured
    capture        TEXT,
    -- the kernel's boot, for correcting times once the clock is set
    boot_id        TEXT,
    state          TEXT NOT NULL DEFAULT 'undecided' CHECK (
        state IN ('undecided', 'kept', 'deleted', 'set_aside', 'missing')
    ),
    reason         TEXT,
    decided_on     TEXT
);
CREATE INDEX recording_created_on ON recording (created_on);
CREATE INDEX recording_path ON recording (path) WHERE path IS NOT NULL;
CREATE INDEX recording_origin ON recording (origin) WHERE origin IS NOT NULL;
CREATE INDEX recording_undecided ON recording (number) WHERE state = 'undecided';
CREATE INDEX recording_kept ON recording (created_on) WHERE state = 'kept';
CREATE INDEX recording_boot ON recording (boot_id) WHERE boot_id IS NOT NULL;

CREATE TABLE model_output (
    number     INTEGER PRIMARY KEY,
    id         TEXT NOT NULL,
    recording  INTEGER NOT NULL REFERENCES recording (number),
    name_model TEXT NOT NULL,
    created_on TEXT NOT NULL,
    -- the promise that analysing a recording again changes nothing
    UNIQUE (recording, name_model)
);

CREATE TABLE detection (
    output          INTEGER NOT NULL REFERENCES model_output (number),
    position        INTEGER NOT NULL,
    id              TEXT NOT NULL,
    detection_score REAL NOT NULL,
    prediction_type TEXT NOT NULL,
    start_time      REAL,
    low_freq        REAL,
    end_time        REAL,
    high_freq       REAL,
    PRIMARY KEY (output, position)
) WITHOUT ROWID;

CREATE TABLE tag (
    number INTEGER PRIMARY KEY,
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    UNIQUE (key, value)
);

CREATE TABLE predicted_tag (
    output           INTEGER NOT NULL,
    position         INTEGER NOT NULL,
    ordinal          INTEGER NOT NULL,
    tag              INTEGER NOT NULL REFERENCES tag (number),
    confidence_score REAL NOT NULL,
    PRIMARY KEY (output, position, ordinal),
    FOREIGN KEY (output, position) REFERENCES detection (output, position)
) WITHOUT ROWID;

-- A model's work on a recording that has no output (yet).
CREATE TABLE processing (
    recording  INTEGER NOT NULL REFERENCES recording (number),
    name_model TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('started', 'refused', 'given_up')),
    attempts   INTEGER NOT NULL DEFAULT 0,
    reason     TEXT,
    updated_on TEXT NOT NULL,
    PRIMARY KEY (recording, name_model)
) WITHOUT ROWID;

-- What was lost or dropped, summed per day so that the table stays small.
CREATE TABLE loss (
    day     TEXT NOT NULL,
    kind    TEXT NOT NULL,
    reason  TEXT NOT NULL,
    count   INTEGER NOT NULL,
    last_on TEXT NOT NULL,
    PRIMARY KEY (day, kind, reason)
) WITHOUT ROWID;

-- How many rows there are of what, kept current by the triggers below: counting a
-- million detections takes a second, and it is asked for often.
CREATE TABLE total (
    name  TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO total (name, count) VALUES
    ('undecided', 0), ('kept', 0), ('deleted', 0), ('set_aside', 0), ('missing', 0),
    ('model_outputs', 0), ('detections', 0);

CREATE TRIGGER recording_inserted AFTER INSERT ON recording BEGIN
    UPDATE total SET count = count + 1 WHERE name = new.state;
END;
CREATE TRIGGER recording_decided AFTER UPDATE OF state ON recording
WHEN old.state != new.state BEGIN
    UPDATE total SET count = count - 1 WHERE name = old.state;
    UPDATE total SET count = count + 1 WHERE name = new.state;
END;
CREATE TRIGGER recording_removed AFTER DELETE ON recording BEGIN
    UPDATE total SET count = count - 1 WHERE name = old.state;
END;
CREATE TRIGGER model_output_inserted AFTER INSERT ON model_output BEGIN
    UPDATE total SET count = count + 1 WHERE name = 'model_outputs';
END;
CREATE TRIGGER model_output_removed AFTER DELETE ON model_output BEGIN
    UPDATE total SET count = count - 1 WHERE name = 'model_outputs';
END;
CREATE TRIGGER detection_inserted AFTER INSERT ON detection BEGIN
    UPDATE total SET count = count + 1 WHERE name = 'detections';
END;
CREATE TRIGGER detection_removed AFTER DELETE ON detection BEGIN
    UPDATE total SET count = count - 1 WHERE name = 'detections';
END;

-- Up to which model output each summary has counted.
CREATE TABLE summary (
    name          TEXT PRIMARY KEY,
    covered_until TEXT NOT NULL,
    output        INTEGER NOT NULL
) WITHOUT ROWID;

-- The outbox.
CREATE TABLE message (
    number     INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    content    BLOB NOT NULL,
    created_on TEXT NOT NULL
);

CREATE TABLE delivery (
    message     INTEGER NOT NULL REFERENCES message (number) ON DELETE CASCADE,
    destination TEXT NOT NULL,
    state       TEXT NOT NULL DEFAULT 'waiting' CHECK (
        state IN ('waiting', 'sent', 'parked', 'expired')
    ),
    attempts    INTEGER NOT NULL DEFAULT 0,
    tried_on    TEXT,
    retry_on    TEXT,
    status      TEXT,
    answer      TEXT,
    PRIMARY KEY (message, destination)
) WITHOUT ROWID;
CREATE INDEX delivery_waiting ON delivery (destination, message) WHERE state = 'waiting';

-- Deliveries whose rows were removed, so that totals survive pruning.
CREATE TABLE delivery_total (
    destination TEXT NOT NULL,
    state       TEXT NOT NULL,
    count       INTEGER NOT NULL,
    PRIMARY KEY (destination, state)
) WITHOUT ROWID;

-- For people with a database browser.
CREATE VIEW detections AS
SELECT
    recording.created_on AS recorded_on,
    deployment.name AS deployment,
    model_output.name_model AS model,
    detection.start_time,
    detection.end_time,
    detection.low_freq,
    detection.high_freq,
    detection.detection_score,
    tag.key AS tag_key,
    tag.value AS tag_value,
    predicted_tag.confidence_score,
    recording.path AS path,
    recording.state AS recording_state
FROM detection
INNER JOIN model_output ON detection.output = model_output.number
INNER JOIN recording ON model_output.recording = recording.number
INNER JOIN deployment ON recording.deployment = deployment.number
LEFT JOIN predicted_tag
    ON detection.output = predicted_tag.output
    AND detection.position = predicted_tag.position
LEFT JOIN tag ON predicted_tag.tag = tag.number;
