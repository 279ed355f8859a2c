"""Lint: what would destroy, rewrite or lock is found before anything runs, and overridden with a reason."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbgear_airflow_provider.core.errors import MigrationError, UnsupportedError
from dbgear_airflow_provider.core.migrations import RULES, MigrationSet, ServerFacts, lint
from dbgear_airflow_provider.core.migrations import squawk as squawk_module
from tests.unit.migrations.conftest import DIALECTS

# {rule: statements that break it, and no other rule}
POSTGRES = {
    "ban-drop-table": ["DROP TABLE a", "DO $$ BEGIN IF true THEN DROP TABLE a; END IF; END $$"],
    "ban-drop-column": ["ALTER TABLE a DROP COLUMN b", "DO $$ BEGIN ALTER TABLE a DROP b; END $$"],
    "ban-drop-database": ["DROP DATABASE a"],
    "ban-drop-schema": ["DROP SCHEMA a"],
    "truncate": ["TRUNCATE a", "DO $x$ BEGIN TRUNCATE a; END $x$"],
    "no-where": [
        "DELETE FROM a",
        "UPDATE a SET b = 1",
        "WITH c AS (DELETE FROM a RETURNING b) SELECT b FROM c",
        "DO $$ BEGIN DELETE FROM a; END $$",
    ],
    "changing-column-type": ["ALTER TABLE a ALTER COLUMN b TYPE bigint"],
    "rewrites-table": ["VACUUM FULL a", "VACUUM (FULL) a", "CLUSTER a", "ALTER TABLE a SET UNLOGGED"],
    "blocks-writes": ["LOCK TABLE a"],
    "adding-required-field": ["ALTER TABLE a ADD COLUMN b text NOT NULL"],
    "adding-not-nullable-field": ["ALTER TABLE a ALTER COLUMN b SET NOT NULL"],
    "adding-field-with-default": ["ALTER TABLE a ADD COLUMN b timestamptz DEFAULT clock_timestamp()"],
    "constraint-missing-not-valid": ["ALTER TABLE a ADD CONSTRAINT b CHECK (c > 0)"],
    "require-concurrent-index-creation": ["CREATE INDEX i ON a (b)"],
    "require-concurrent-index-deletion": ["DROP INDEX i"],
    "require-concurrent-reindex": ["REINDEX TABLE a"],
    "renaming-table": ["ALTER TABLE a RENAME TO b"],
    "renaming-column": ["ALTER TABLE a RENAME COLUMN b TO c"],
    "other-schema": ["SELECT 1 FROM public.a", "ALTER TABLE other.a ADD COLUMN b text"],
    "not-a-migration": [
        "GRANT SELECT ON a TO b", "REVOKE ALL ON a FROM b", "CREATE ROLE a", "ALTER SYSTEM SET a = 1",
        "SET ROLE a", "SET  LOCAL ROLE a", "RESET ROLE", "SET SESSION AUTHORIZATION a", "DROP OWNED BY a",
    ],
    "not-parsed": ["FROBNICATE a"],
    "identifier-too-long": [f"CREATE TABLE {'a' * 64} (b text)"],
    "": [
        "CREATE TABLE a (b bigint PRIMARY KEY)",
        "CREATE TABLE a (b bigint); CREATE INDEX i ON a (b)",
        "ALTER TABLE a ADD COLUMN b text DEFAULT 'x'",
        "ALTER TABLE a ADD CONSTRAINT b CHECK (c > 0) NOT VALID",
        "INSERT INTO ${SCHEMA}.a SELECT b FROM pg_catalog.pg_class",
        "UPDATE a SET b = 1 WHERE c = 2",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM a; RETURN NEW; END $$",
        "DO $$ BEGIN UPDATE a SET b = 1 WHERE c; END $$",
        "COMMENT ON TABLE a IS 'DROP TABLE b'",
    ],
}  # fmt: skip
MYSQL = {
    "ban-drop-table": ["DROP TABLE a", "DROP TABLE IF EXISTS a, b"],
    "ban-drop-column": ["ALTER TABLE a DROP COLUMN b", "ALTER TABLE a DROP b", "ALTER TABLE `a` ADD c int, DROP `b`"],
    "ban-drop-database": ["DROP DATABASE a", "DROP SCHEMA a"],
    "truncate": ["TRUNCATE a", "ALTER TABLE a DROP PARTITION p", "ALTER TABLE a TRUNCATE PARTITION p"],
    "no-where": ["DELETE FROM a", "UPDATE a SET b = 1", "UPDATE a SET b = 1 LIMIT 10"],
    "changing-column-type": ["ALTER TABLE a MODIFY b bigint", "ALTER TABLE a MODIFY COLUMN b bigint NOT NULL"],
    "rewrites-table": [
        "ALTER TABLE a CONVERT TO CHARACTER SET utf8mb4", "ALTER TABLE a DROP PRIMARY KEY", "OPTIMIZE TABLE a",
        "ALTER TABLE a ADD PRIMARY KEY (b)", "ALTER TABLE a ENGINE = InnoDB", "ALTER TABLE a FORCE",
        "ALTER TABLE a ADD b int GENERATED ALWAYS AS (c + 1) STORED", "ALTER TABLE a PARTITION BY HASH (b)",
        "ALTER TABLE a ADD CONSTRAINT b CHECK (c > 0)", "ALTER TABLE a ADD b int AUTO_INCREMENT UNIQUE",
    ],
    "blocks-writes": ["CREATE FULLTEXT INDEX i ON a (b)", "ALTER TABLE a ADD FULLTEXT INDEX i (b)"],
    "adding-foreign-key-constraint": ["ALTER TABLE a ADD CONSTRAINT b FOREIGN KEY (c) REFERENCES d (e)"],
    "renaming-table": ["RENAME TABLE a TO b", "ALTER TABLE a RENAME TO b", "ALTER TABLE a RENAME b"],
    "renaming-column": ["ALTER TABLE a RENAME COLUMN b TO c"],
    "unnamed-object": [
        "ALTER TABLE a ADD INDEX (b)", "ALTER TABLE a ADD c int, ADD UNIQUE KEY (b)", "ALTER TABLE a ADD UNIQUE (b)",
        "ALTER TABLE a ADD KEY USING BTREE (b)", "ALTER TABLE a ADD CONSTRAINT UNIQUE (b)",
    ],
    "ddl-after-dml": ["INSERT INTO a VALUES (1); CREATE TABLE b (c int)"],
    "other-schema": ["SELECT 1 FROM other.a", "ALTER TABLE other.a ADD b int", "DROP VIEW other.a"],
    "not-a-migration": ["GRANT ALL ON a TO b", "SET GLOBAL a = 1", "CREATE USER a", "FLUSH TABLES"],
    "not-parsed": ["FROBNICATE a"],
    "": [
        "CREATE TABLE a (b int PRIMARY KEY, KEY (c), FOREIGN KEY (d) REFERENCES e (f))",
        "ALTER TABLE a ADD COLUMN b int NOT NULL DEFAULT 1, ADD INDEX i (b), ADD UNIQUE u (b), DROP INDEX j",
        "ALTER TABLE a DROP FOREIGN KEY b, ALTER COLUMN c SET DEFAULT 1, RENAME INDEX i TO j, DROP CONSTRAINT k",
        "CREATE INDEX i ON a (b)",
        "CREATE TABLE b (c int); INSERT INTO a VALUES (1)",
        "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.b = 1",
        "CREATE PROCEDURE p() BEGIN DELETE FROM a; DROP TABLE b; END",
        "INSERT INTO `${SCHEMA}`.a SELECT b FROM information_schema.tables",
        "UPDATE a SET b = 'DROP TABLE c' WHERE d",
    ],
}  # fmt: skip


def cases():
    for engine, rules in (("postgresql", POSTGRES), ("mysql", MYSQL), ("mariadb", MYSQL)):
        for rule, statements in rules.items():
            yield from ((engine, rule, statement) for statement in statements)


@pytest.fixture
def findings(folder):
    def find(text, engine="postgresql", **facts):
        path = folder({"v1.sql": text}) / "v1.sql"
        dialect = DIALECTS[engine]
        return lint(MigrationSet.load(path, dialect=dialect), ServerFacts(dialect=dialect, **facts))

    return find


def told(found):
    return Counter((item.rule, item.severity) for item in found)


@pytest.mark.parametrize(("engine", "rule", "text"), list(cases()))
def test_each_rule_finds_what_it_is_about_and_nothing_else(findings, engine, rule, text):
    assert told(findings(text, engine)) == ({(rule, RULES[rule].severity): 1} if rule else {})


def test_a_finding_names_its_line_and_statement(findings):
    first, second = findings("-- migrate:up\nSELECT 1;\n\nDROP TABLE é;\nALTER TABLE b\n  DROP COLUMN c;\n")
    assert (first.line, first.statement) == (4, "DROP TABLE é")
    assert (second.line, second.statement) == (6, "ALTER TABLE b\n  DROP COLUMN c")
    assert first.file.endswith("v1.sql")
    assert first.text


def test_one_statement_that_squawk_cannot_parse_hides_no_other(findings):
    found = findings("FROBNICATE a;\nDROP TABLE b;\nFROBNICATE c, c;\nCREATE INDEX i ON a (b);\nFROBNICATE")
    assert [(item.line, item.rule) for item in found] == [
        (1, "not-parsed"),
        (2, "ban-drop-table"),
        (3, "not-parsed"),
        (4, "require-concurrent-index-creation"),
        (5, "not-parsed"),
    ]


def test_concurrently_needs_to_be_outside_of_a_transaction(findings):
    text = "CREATE INDEX CONCURRENTLY i ON a (b);\n"
    assert told(findings(text)) == {("ban-concurrent-index-creation-in-transaction", "error"): 1}
    assert not findings(f"-- migrate:up transaction:false\n{text}")


def test_what_is_gone_on_with_needs_names(findings):
    text = "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY ON a (b);\n"
    assert told(findings(text)) == {("unnamed-object", "error"): 1}


@pytest.mark.parametrize(
    ("engine", "text", "found"),
    [
        ("postgresql", "CREATE TABLE ${PREFIX}a (b bigint)", 0),
        ("postgresql", "CREATE TABLE a (b bigint)", 1),
        ("postgresql", "ALTER TABLE ${SCHEMA}.${PREFIX}a ADD b text", 0),
        ("postgresql", "INSERT INTO a VALUES (1)", 1),
        ("postgresql", "UPDATE ${PREFIX}a SET b = 1 FROM c WHERE d", 1),
        ("postgresql", "WITH c AS (SELECT 1) SELECT 1 FROM c, ${PREFIX}a, generate_series(1, 2), pg_class", 0),
        ("postgresql", "CREATE VIEW ${PREFIX}a AS SELECT 1 FROM b", 1),
        ("postgresql", "CREATE SEQUENCE a", 1),
        ("postgresql", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", 1),
        ("postgresql", "CREATE TABLE ${PREFIX}a (b bigint); CREATE INDEX i ON ${PREFIX}a (b)", 1),
        (
            "postgresql",
            "CREATE TRIGGER t BEFORE UPDATE ON ${PREFIX}a FOR EACH ROW EXECUTE FUNCTION ${PREFIX}f()",
            0,
        ),
        ("postgresql", "CREATE TABLE ${PREFIX}a (b bigint, CONSTRAINT u UNIQUE (b))", 1),
        ("postgresql", "CREATE TABLE ${PREFIX}a (b bigint, CONSTRAINT c CHECK (b > 0))", 0),
        ("mysql", "CREATE TABLE ${PREFIX}a (b int, CONSTRAINT u UNIQUE (b))", 0),
        ("mysql", "CREATE TABLE ${PREFIX}a (b int, CONSTRAINT c FOREIGN KEY (b) REFERENCES ${PREFIX}d (e))", 1),
        ("mysql", "CREATE TABLE ${PREFIX}a (b int, CONSTRAINT ${PREFIX}c CHECK (b > 0))", 0),
        ("mysql", "CREATE INDEX i ON ${PREFIX}a (b)", 0),
        ("mysql", "CREATE INDEX i ON a (b)", 1),
        ("mysql", "CREATE TRIGGER t BEFORE INSERT ON ${PREFIX}a FOR EACH ROW SET NEW.b = 1", 1),
        ("mysql", "INSERT INTO `${PREFIX}a` SELECT 1 FROM dual", 0),
        ("mysql", "ALTER TABLE a ADD b int", 1),
    ],
)
def test_names_need_a_prefix_where_tenants_share_a_schema(findings, engine, text, found):
    assert not findings(text, engine, prefixed=False) or "INDEX i ON" in text
    rules = told(findings(text, engine, prefixed=True))
    assert bool(rules[("no-prefix", "error")]) == bool(found)


def test_an_override_is_kept_with_its_reason(findings):
    text = (
        "-- dbgear:allow ban-drop-table, truncate: they are empty\n\n"
        "DROP TABLE a;\nTRUNCATE b;\n-- dbgear:allow no-where: all of them\nDELETE FROM c;\nUPDATE d SET e = 1;"
    )
    found = findings(text)
    assert [(item.line, item.rule, item.severity, item.reason) for item in found] == [
        (3, "ban-drop-table", "allowed", "they are empty"),
        (4, "truncate", "allowed", "they are empty"),
        (6, "no-where", "allowed", "all of them"),
        (7, "no-where", "error", None),
    ]


def test_an_override_that_nothing_needs_is_told(findings):
    found = findings("-- dbgear:allow ban-drop-table: it is gone\nSELECT 1;\n-- dbgear:allow no-such-rule: x\nSELECT 2")
    assert [(item.line, item.rule, item.severity) for item in found] == [
        (1, "unused-allow", "warning"),
        (3, "unused-allow", "warning"),
    ]
    assert "no-such-rule" in found[1].text


def test_down_is_linted_as_well(findings):
    found = findings("-- migrate:up\nCREATE TABLE a (b bigint);\n-- migrate:down\nDROP TABLE a;")
    assert [(item.line, item.rule) for item in found] == [(4, "ban-drop-table")]


WORDS = [
    "ALTER", "TABLE", "CREATE", "DROP", "INDEX", "ADD", "CONSTRAINT", "FOREIGN", "KEY", "UNIQUE", "IF", "EXISTS",
    "ONLY", "a", "`b`", "'c'", "${PREFIX}d", "(", ")", ",", ".", "ON", "REFERENCES", "DELETE", "FROM", "UPDATE", "SET",
    "WHERE", "TRUNCATE", "COLUMN", "RENAME", "TO", "DO", "WITH", "AS", "SELECT", "TRIGGER", "CONCURRENTLY",
    "PRIMARY", "FULLTEXT",
]  # fmt: skip


@pytest.mark.parametrize(("engine", "examples"), [("mysql", 300), ("postgresql", 60)])
def test_whatever_a_statement_is_lint_has_an_answer(findings, engine, examples):
    @settings(max_examples=examples, deadline=None)
    @given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join))
    def check(text: str) -> None:
        if engine == "postgresql":
            text = text.replace("`", '"')
        try:
            found = findings(text, engine, prefixed=True)
        except MigrationError as error:
            assert "line 1" in str(error)
        else:
            assert all(item.rule in RULES for item in found)

    check()


def test_without_squawk_an_error_names_the_extra(findings, monkeypatch):
    monkeypatch.setattr(squawk_module.shutil, "which", lambda *_, **__: None)
    with pytest.raises(UnsupportedError, match=r"airflow-provider-dbgear\[lint\]"):
        findings("SELECT 1")
    assert not findings("SELECT 1", "mysql")


def test_a_squawk_that_does_not_run_is_told(findings, tmp_path, monkeypatch):
    program = tmp_path / "squawk"
    monkeypatch.setattr(squawk_module.shutil, "which", lambda *_, **__: str(program))
    with pytest.raises(UnsupportedError, match="squawk does not run"):
        findings("SELECT 1")
    program.write_text("#!/bin/sh\necho broken >&2; exit 3\n")
    program.chmod(0o755)
    with pytest.raises(UnsupportedError, match="squawk gave no report: broken"):
        findings("SELECT 1")


def test_a_settings_file_of_squawk_changes_nothing(findings, tmp_path, monkeypatch):
    (tmp_path / ".squawk.toml").write_text('excluded_rules = ["ban-drop-table"]\n')
    (tmp_path / "within").mkdir()
    for folder in (tmp_path, tmp_path / "within"):
        monkeypatch.chdir(folder)
        assert told(findings("DROP TABLE a")) == {("ban-drop-table", "error"): 1}


def test_comments_for_squawk_override_nothing(findings):
    text = "ALTER TABLE a\n-- squawk-ignore ban-drop-column\nDROP COLUMN b;"
    assert told(findings(text)) == {("ban-drop-column", "error"): 1}


def test_sqlglot_logs_nothing_and_its_logger_stays_as_it_was(findings, caplog):
    findings("ALTER TABLE a SET UNLOGGED; LOCK TABLE b")
    assert not caplog.records
    assert not logging.getLogger("sqlglot").disabled
