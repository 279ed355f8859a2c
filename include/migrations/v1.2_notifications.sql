-- What a user is told of, and how; everybody begins with mail.
-- migrate:up
CREATE TABLE ${PREFIX}notifications (
    user_id bigint NOT NULL,
    kind varchar(30) NOT NULL,
    channel varchar(10) NOT NULL,
    PRIMARY KEY (user_id, kind)
);
INSERT INTO ${PREFIX}notifications (user_id, kind, channel)
SELECT id, 'invoice', 'mail' FROM ${PREFIX}users;

-- migrate:down
-- dbgear:allow ban-drop-table: what users have chosen since is lost
DROP TABLE ${PREFIX}notifications;
