-- Who has not been here for long. Nobody waits while the index is built.
-- migrate:up
ALTER TABLE ${PREFIX}users ADD INDEX idx_last_login (last_login_at), ALGORITHM=INPLACE, LOCK=NONE;

-- migrate:down
ALTER TABLE ${PREFIX}users DROP INDEX idx_last_login;
