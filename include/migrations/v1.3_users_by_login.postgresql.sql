-- Who has not been here for long. Nobody waits while the index is built.
-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY ${PREFIX}idx_last_login ON ${PREFIX}users (last_login_at);

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY ${PREFIX}idx_last_login;
