"""Clones of what no document makes, but what tenants come to hold: each is as the original, and its own."""

from __future__ import annotations

from typing import Any

import pytest

from dbgear_airflow_provider.core.engines import postgresql_clone_catalog
from tests.integration.automation.migrating import INDEX, NOTES, PLAN, Scripts
from tests.integration.automation.test_rehearsal import clones, everything, outcomes, rehearse

ON_POSTGRES = """
SET search_path = "{schema}";
CREATE TYPE mood AS ENUM ('sad', 'it''s ok');
CREATE DOMAIN positive AS int DEFAULT 1 CHECK (VALUE > 0);
CREATE SEQUENCE free INCREMENT BY 5 CYCLE MAXVALUE 1000;
CREATE FUNCTION doubled(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE TABLE people (
  dropped int, id serial PRIMARY KEY, ident int GENERATED ALWAYS AS IDENTITY (START WITH 7), feeling mood DEFAULT 'sad',
  n positive, "Mixed Case" text COLLATE "C" DEFAULT '(x)', made int GENERATED ALWAYS AS (doubled(id)) STORED,
  boss int REFERENCES people DEFERRABLE INITIALLY DEFERRED, during int4range,
  EXCLUDE USING gist (during WITH &&), CONSTRAINT sound CHECK (feeling <> 'it''s ok' OR n IS NOT NULL) NOT VALID
) WITH (fillfactor = 70);
ALTER TABLE people DROP COLUMN dropped;
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
COMMENT ON TABLE people IS 'it''s people';
COMMENT ON COLUMN people."Mixed Case" IS 'of {schema}.people';
COMMENT ON CONSTRAINT sound ON people IS 'sound';
CREATE UNIQUE INDEX by_case ON people (lower("Mixed Case") DESC) INCLUDE (n) WHERE n > 1;
COMMENT ON INDEX by_case IS 'an index';
CREATE TABLE parts (at date NOT NULL, person int REFERENCES people, id int) PARTITION BY RANGE (at);
CREATE TABLE parts_old PARTITION OF parts FOR VALUES FROM (MINVALUE) TO ('2026-01-01') PARTITION BY LIST (id);
CREATE TABLE parts_old_1 PARTITION OF parts_old FOR VALUES IN (1);
CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
CREATE INDEX parts_id ON parts (id);
CREATE FUNCTION whole(p people) RETURNS text LANGUAGE sql STABLE AS 'SELECT p."Mixed Case"';
CREATE VIEW names WITH (security_barrier = true) AS SELECT whole(people), people.id FROM people;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM names;
COMMENT ON MATERIALIZED VIEW counted IS 'counted';
CREATE UNIQUE INDEX counted_n ON counted (n);
CREATE TABLE log (what text);
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql SET search_path = "{schema}" AS
  $$ BEGIN INSERT INTO "{schema}".log VALUES (NEW."Mixed Case"); INSERT INTO log VALUES ('again'); RETURN NEW; END $$;
CREATE TRIGGER noted BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION noted();
CREATE TRIGGER off BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION noted();
ALTER TABLE people DISABLE TRIGGER off;
INSERT INTO people (feeling, "Mixed Case", during) SELECT 'sad', 'n' || n, int4range(n, n + 1)
  FROM generate_series(1, 5) n;
INSERT INTO parts SELECT '2025-01-01', id, 1 FROM people;
INSERT INTO parts SELECT '2026-01-01', id, 2 FROM people;
"""
USES_POSTGRES = (
    "INSERT INTO people (feeling, \"Mixed Case\", during) VALUES ('sad', 'new', '[50,60)');",
    "ALTER TABLE people RENAME CONSTRAINT sound TO sounder;",
    "ALTER INDEX by_case RENAME TO by_cases;",
    "ALTER TYPE mood RENAME VALUE 'sad' TO 'sadder';",
    "DO 'BEGIN ASSERT (SELECT (max(id), max(ident), max(made), count(*)) = (6, 12, 12, 6) FROM people); "
    "ASSERT (SELECT count(*) FROM log) = 12; ASSERT (SELECT count(*) FROM parts) = 10; "
    "ASSERT (SELECT count(*) FROM parts_old_1) = 5; ASSERT nextval(''free'') = 1; END';",
    "REFRESH MATERIALIZED VIEW counted;",
    "ALTER TABLE parts DETACH PARTITION parts_rest;",
)


async def test_on_postgresql(fleet: Any) -> None:
    scripts = Scripts(fleet)
    ids = await scripts.provisioned(1)
    fleet.query(ON_POSTGRES.replace("{schema}", scripts.place("T0001")[1]))
    scripts.write("1_use.sql", *USES_POSTGRES)
    before = everything(scripts, ids)
    counts = (
        scripts.query("T0001", "SELECT last_value FROM {people_id_seq}"),
        scripts.query("T0001", "SELECT count(*) FROM {log}"),
    )
    report = await rehearse(scripts)
    assert outcomes(report) == [("T0001/main", 1, "passed")], report.text()
    assert "index people.by_cases: added" in report.rehearsals[0].changes
    assert everything(scripts, ids) == before
    assert counts == (
        scripts.query("T0001", "SELECT last_value FROM {people_id_seq}"),
        scripts.query("T0001", "SELECT count(*) FROM {log}"),
    )
    assert clones(scripts) == []


@pytest.mark.parametrize(
    ("made", "what"),
    [
        ("CREATE TABLE {more} () INHERITS ({customers})", "table more, which inherits"),
        ("CREATE STATISTICS told ON id, (id + 1) FROM {customers}", "statistics told of customers"),
        ("CREATE RULE none AS ON DELETE TO {customers} DO INSTEAD NOTHING", "rule none of customers"),
        ("CREATE TYPE {both} AS (a int, b int)", "type both"),
        (
            "CREATE TABLE public.elsewhere (id int PRIMARY KEY); "
            "ALTER TABLE {customers} ADD CONSTRAINT away FOREIGN KEY (id) REFERENCES public.elsewhere",
            "key away of customers to a table elsewhere",
        ),
    ],
)
async def test_on_postgresql_what_is_not_copied_is_named(fleet: Any, made: str, what: str) -> None:
    scripts = Scripts(fleet)
    await scripts.provisioned(1)
    scripts.query("T0001", made)
    scripts.write("1_notes.sql", NOTES)
    report = await rehearse(scripts)
    assert [item.error for item in report.rehearsals] == [f"cannot be cloned: {what}"]


async def test_on_postgresql_a_copying_that_does_more_than_read_is_taken_back(
    fleet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = Scripts(fleet)
    ids = await scripts.provisioned(1)
    scripts.write("1_notes.sql", NOTES)
    before = everything(scripts, ids)
    # Written as no server writes it, so that nobody takes it for a name.
    alter = "SELECT format('ALTER TABLE %I . %I ADD COLUMN more int', nspname, relname) FROM relation"
    monkeypatch.setitem(postgresql_clone_catalog.QUERIES, "comments", f"{alter} WHERE relkind = 'r'")
    report = await rehearse(scripts)
    assert [item.outcome for item in report.rehearsals] == ["not rehearsed"]
    assert "the copying is not of reading alone" in report.rehearsals[0].error
    assert everything(scripts, ids) == before
    assert clones(scripts) == []


async def test_on_postgresql_a_function_with_the_schemas_name_in_a_text_is_not_copied(fleet: Any) -> None:
    scripts = Scripts(fleet)
    await scripts.provisioned(1)
    schema = scripts.place("T0001")[1]
    body = f"BEGIN EXECUTE ''DELETE FROM {schema}.customers''; END"
    scripts.query("T0001", f"CREATE FUNCTION {{emptied}}() RETURNS void LANGUAGE plpgsql AS '{body}'")
    scripts.write("1_notes.sql", NOTES)
    report = await rehearse(scripts)
    assert "names what is the instance's own" in report.rehearsals[0].error


async def test_on_mariadb(mysql_fleet: Any) -> None:
    scripts = Scripts(mysql_fleet)
    ids = await scripts.provisioned(1)
    schema = scripts.place("T0001")[1]
    made = (
        "CREATE SEQUENCE serial START WITH 5",
        "CREATE TABLE people (id INT AUTO_INCREMENT PRIMARY KEY, "
        "name VARCHAR(20) CHARACTER SET latin1 DEFAULT 'it''s', n INT DEFAULT (nextval(serial)), "
        "made INT AS (id * 2) VIRTUAL, data JSON, boss INT, "
        "KEY by_name (name(5) DESC), CONSTRAINT boss FOREIGN KEY (boss) REFERENCES people (id), "
        f"CONSTRAINT sound CHECK (n > 0)) COMMENT 'of {schema}.people' AUTO_INCREMENT = 100",
        "CREATE TABLE log (what VARCHAR(100))",
        "CREATE FUNCTION doubled(n INT) RETURNS INT DETERMINISTIC RETURN n * 2",
        f"CREATE PROCEDURE noted(what VARCHAR(100)) BEGIN INSERT INTO `{schema}`.log VALUES (what); END",
        "CREATE TRIGGER first BEFORE INSERT ON people FOR EACH ROW CALL noted(NEW.name)",
        "CREATE TRIGGER second BEFORE INSERT ON people FOR EACH ROW FOLLOWS first SET NEW.data = '{}'",
        "CREATE VIEW b AS SELECT id, doubled(id) AS two FROM people",
        "CREATE VIEW a AS SELECT * FROM b WHERE two > 1",
        "INSERT INTO people (name) VALUES ('x'), ('y')",
        "INSERT INTO people (id, name, boss) VALUES (1, 'z', 101)",
    )
    for statement in made:
        mysql_fleet.query(statement, schema)
    scripts.write(
        "1_use.sql",
        "INSERT INTO people (name) VALUES ('new');",
        "ALTER TABLE people DROP FOREIGN KEY boss, DROP CONSTRAINT sound, DROP KEY by_name;",
        "CREATE TABLE told (CONSTRAINT so CHECK (n = 4 AND m = 4 AND k >= 8 AND l = 102)) AS SELECT "
        "(SELECT count(*) FROM people) n, (SELECT count(*) FROM log) m, (SELECT max(n) FROM people) k, "
        "(SELECT max(id) FROM a) l;",
    )
    before = everything(scripts, ids), mysql_fleet.query("SELECT count(*) FROM log", schema)
    report = await rehearse(scripts)
    assert outcomes(report) == [("T0001/main", 1, "passed")], report.text()
    assert "foreign key people.boss: dropped" in report.rehearsals[0].changes
    assert (everything(scripts, ids), mysql_fleet.query("SELECT count(*) FROM log", schema)) == before
    assert clones(scripts) == []


async def test_on_mariadb_a_script_that_is_half_done_is_gone_on_with(mysql_fleet: Any) -> None:
    scripts = Scripts(mysql_fleet)
    await scripts.provisioned(1)
    scripts.write("1_plan.sql", PLAN, INDEX, "INSERT INTO ${PREFIX}none VALUES (1);")
    await scripts.migrate()
    ledger = scripts.ledger("T0001")
    assert "1 #2" in ledger
    report = await rehearse(scripts)
    assert (report.rehearsals[0].outcome, report.rehearsals[0].where[-6:]) == ("failed", "line 4")
    scripts.write("1_plan.sql", PLAN, INDEX, NOTES)
    assert (await rehearse(scripts)).rehearsals[0].changes == ["table notes: added"]
    assert scripts.ledger("T0001") == ledger
