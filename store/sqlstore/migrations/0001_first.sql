CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE users (
    id                  TEXT       NOT NULL PRIMARY KEY,
    email               TEXT       NOT NULL,
    email_key           {bytewise} NOT NULL UNIQUE,
    email_verified      BOOLEAN    NOT NULL,
    name                TEXT       NOT NULL,
    groups_json         TEXT       NOT NULL,
    password_hash       TEXT       NOT NULL,
    disabled            BOOLEAN    NOT NULL,
    generation          BIGINT     NOT NULL,
    created_at          BIGINT     NOT NULL,
    updated_at          BIGINT     NOT NULL,
    password_changed_at BIGINT     NOT NULL
);

-- head and parent are SHA-256 of the last two tokens of the family; times are
-- microseconds of UTC, 0 = never.
CREATE TABLE sessions (
    id           TEXT    NOT NULL PRIMARY KEY,
    user_id      TEXT    NOT NULL,
    selector     {bytes} NOT NULL UNIQUE,
    head         {bytes} NOT NULL,
    parent       {bytes},
    rotated_at   BIGINT  NOT NULL,
    created_at   BIGINT  NOT NULL,
    auth_time    BIGINT  NOT NULL,
    last_used_at BIGINT  NOT NULL,
    idle_ends    BIGINT  NOT NULL,
    ends         BIGINT  NOT NULL,
    ended_at     BIGINT  NOT NULL,
    amr_json     TEXT    NOT NULL,
    user_agent   TEXT    NOT NULL,
    address      TEXT    NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (user_id, ended_at);

CREATE TABLE revocations (
    seq        {serial},
    kind       BIGINT NOT NULL,
    subject    TEXT   NOT NULL,
    generation BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires    BIGINT NOT NULL
);
CREATE INDEX revocations_by_expiry ON revocations (expires);

-- tat: theoretical arrival time of GCRA, nanoseconds of UTC.
CREATE TABLE limits (
    subject TEXT   NOT NULL PRIMARY KEY,
    tat     BIGINT NOT NULL
);
CREATE INDEX limits_by_tat ON limits (tat);

CREATE TABLE ring (
    id         TEXT    NOT NULL PRIMARY KEY,
    purpose    TEXT    NOT NULL,
    algorithm  TEXT    NOT NULL,
    secret     {bytes} NOT NULL,
    created_at BIGINT  NOT NULL,
    active_at  BIGINT  NOT NULL,
    retire_at  BIGINT  NOT NULL,
    revoked_at BIGINT  NOT NULL
);

CREATE TABLE instances (
    id         TEXT   NOT NULL PRIMARY KEY,
    host       TEXT   NOT NULL,
    version    TEXT   NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL
);
