-- Old rows are found by their age.
ALTER TABLE sessions ADD INDEX ix_sessions_ended (ended_at), ADD INDEX ix_sessions_expires (expires_at);
ALTER TABLE refresh_tokens ADD INDEX ix_refresh_tokens_used (used_at);
ALTER TABLE password_resets ADD INDEX ix_password_resets_expires (expires_at);

-- When a dead job was found dead.
ALTER TABLE jobs ADD COLUMN dead_since BIGINT NULL;

-- The first job of the function `retention`. It is due in an hour, when the functions that don't know its queue are gone.
INSERT INTO jobs (queue, state, due_at, payload, created_at)
VALUES ('retention', 'queued', (UNIX_TIMESTAMP() + 3600) * 1000, '{}', UNIX_TIMESTAMP() * 1000);
