-- A telephone number of each user.
-- migrate:up
ALTER TABLE ${PREFIX}users ADD COLUMN phone varchar(30);

-- migrate:down
-- dbgear:allow ban-drop-column: numbers that were entered since are lost
ALTER TABLE ${PREFIX}users DROP COLUMN phone;
