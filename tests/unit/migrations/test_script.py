"""What a script says: sections, statements, and errors that a person can mend."""

from __future__ import annotations

import hashlib

import pytest

from dbgear_airflow_provider.core.errors import MigrationError
from dbgear_airflow_provider.core.migrations import MigrationSet

DBMATE = """\
-- Who wants what.
-- migrate:up transaction:false
CREATE TABLE users (id int); -- the first

/* a comment; with a semicolon */
INSERT INTO users
VALUES (1) -- without an end

-- migrate:down
DROP TABLE users;
"""


def texts(section):
    return [statement.text for statement in section.statements]


def test_sections_as_dbmate_has_them(load):
    migration = load(DBMATE)
    assert texts(migration.up) == ["CREATE TABLE users (id int)", "INSERT INTO users\nVALUES (1)"]
    assert [statement.line for statement in migration.up.statements] == [3, 6]
    assert texts(migration.down) == ["DROP TABLE users"]
    assert (migration.up.transaction, migration.down.transaction) == (False, True)
    assert (migration.version, migration.name) == ("1", "test")


def test_without_markers_all_is_up(load):
    migration = load("CREATE TABLE a (b int);\nDROP TABLE a")
    assert texts(migration.up) == ["CREATE TABLE a (b int)", "DROP TABLE a"]
    assert migration.down is None


def test_a_marker_within_a_string_or_a_body_is_none(load):
    migration = load("SELECT '\n-- migrate:down\n';\nDO $$\n-- migrate:down\nBEGIN END $$;/*\n-- migrate:down\n*/")
    assert len(migration.up.statements) == 2
    assert migration.down is None


def test_hashes_and_checksum_leave_comments_and_blank_lines_out(load):
    migration = load(DBMATE)
    first = migration.up.statements[0]
    assert first.hash == hashlib.sha256(b"CREATE TABLE users (id int)").hexdigest()
    mended = load(DBMATE.replace("-- the first\n", "-- mended\n\n\n"))
    assert mended.checksum == migration.checksum
    others = [
        DBMATE.replace("VALUES (1)", "VALUES (2)"),
        DBMATE.replace("transaction:false", ""),
        DBMATE.replace("DROP TABLE users", "DROP TABLE  users"),
        DBMATE[: DBMATE.index("-- migrate:down")],
    ]
    assert len({load(text).checksum for text in [DBMATE, *others]}) == 5


def test_a_checkout_on_windows_has_the_same_checksum(load, folder, dialects):
    path = folder({}) / "v1_windows.sql"
    path.write_bytes(b"\xef\xbb\xbf" + DBMATE.replace("\n", "\r\n").encode())
    windows = MigrationSet.load(path, dialect=dialects["postgresql"]).migrations[0]
    assert windows.checksum == load(DBMATE).checksum


BAD = {
    "string": ("postgresql", "SELECT 1;\nSELECT 'a;\nb", 2, "without an end"),
    "E string": ("postgresql", "SELECT E'a\\';\nSELECT 1", 1, "without an end"),
    "name": ("mysql", "SELECT 1;\n\nSELECT `a;\nb", 3, "without an end"),
    "dollars": ("postgresql", "SELECT 1;\nDO $a$ BEGIN END $b$;", 2, "without an end"),
    "comment": ("postgresql", "SELECT 1;\n/* a /* b */", 2, "no end"),
    "comment on mysql": ("mysql", "SELECT 1;\n/* a", 2, "no end"),
    "nothing": ("postgresql", "-- nothing\n;;\n", 1, "nothing to do in migrate:up"),
    "nothing to undo": (
        "postgresql",
        "-- migrate:up\nSELECT 1;\n-- migrate:down\n",
        3,
        "nothing to do in migrate:down",
    ),
    "psql": ("postgresql", "SELECT 1;\n\\copy a from b", 2, "a command of the client"),
    "psql at the end": ("postgresql", "SELECT 1\n\\gexec", 2, "a command of the client"),
    "copy": ("postgresql", "COPY a FROM STDIN;\n", 1, "a command of the client"),
    "source": ("mysql", "\nSOURCE a.sql;", 2, "a command of the client"),
    "use": ("mysql", "USE a;", 1, "a command of the client"),
    "mysql at the end": ("mysql", "SELECT 1\\G", 1, "a command of the client"),
    "begin": ("postgresql", "SELECT 1;\nBEGIN;", 2, "transactions are begun"),
    "end": ("postgresql", "END", 1, "transactions are begun"),
    "commit": ("mysql", "COMMIT;", 1, "transactions are begun"),
    "begin work": ("mysql", "BEGIN WORK;", 1, "transactions are begun"),
    "start": ("mysql", "START  TRANSACTION READ ONLY;", 1, "transactions are begun"),
    "savepoint": ("postgresql", "SAVEPOINT a;", 1, "transactions are begun"),
    "lock": ("mysql", "LOCK TABLES a WRITE;", 1, "transactions are begun"),
    "executed": ("mysql", "SELECT 1;\n/*!40101 SET NAMES utf8 */;", 2, "a comment that the server executes"),
    "executed, MariaDB": ("mariadb", "SELECT /*M! 1 */;", 1, "a comment that the server executes"),
    "before up": ("postgresql", "SELECT 1;\n-- migrate:up\nSELECT 2;", 1, "a statement before the first marker"),
    "up twice": ("postgresql", "-- migrate:up\nSELECT 1;\n-- migrate:up\n", 3, "a second migrate:up"),
    "down first": ("postgresql", "-- migrate:down\nSELECT 1;", 1, "migrate:down before migrate:up"),
    "sideways": ("postgresql", "-- migrate:sideways\nSELECT 1;", 1, "no such marker"),
    "option": ("postgresql", "-- migrate:up transaction=false\nSELECT 1;", 1, "no such marker"),
    "no reason": ("postgresql", "-- dbgear:allow drop-table\nDROP TABLE a", 1, "no reason"),
    "empty reason": ("postgresql", "SELECT 1;\n-- dbgear:allow drop-table: \nDROP TABLE a", 2, "no reason"),
    "no END": ("mysql", "SELECT 1;\nCREATE PROCEDURE p()\nBEGIN SELECT 1;\n", 3, "this BEGIN has no END"),
    "no END, atomic": ("postgresql", "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1;", 1, "has no END"),
    "delimiter": ("mysql", "DELIMITER //\nSELECT 1; SELECT 2//", 2, "several statements before the delimiter"),
    "delimiter in a line": ("mysql", "SELECT 1; DELIMITER //\nSELECT 2//", 1, "no DELIMITER line"),
    "delimiter of quotes": ("mysql", "DELIMITER '\nSELECT 2'", 1, "no DELIMITER line"),
    "no delimiter before the next": ("mysql", "DELIMITER //\nSELECT 1;\nDELIMITER ;\n", 3, "before the delimiter"),
    "no delimiter after a body": (
        "mysql",
        "DELIMITER //\nCREATE PROCEDURE p() BEGIN DO 1; END\nDELIMITER ;\n",
        3,
        "has no end",
    ),
    "no macro": ("postgresql", "SELECT 1;\nSELECT ${name}", 2, "no macro"),
}


@pytest.mark.parametrize(("engine", "text", "line", "problem"), BAD.values(), ids=list(BAD))
def test_an_error_names_file_and_line(load, engine, text, line, problem):
    with pytest.raises(MigrationError) as error:
        load(text, engine)
    assert error.value.details["where"].endswith(f"v1_test.sql, line {line}")
    assert problem in error.value.details["problem"]
    assert error.value.details["allowed"]


def test_what_a_script_allows(load):
    migration = load(
        "-- migrate:up\n-- dbgear:allow big-table, other: nobody works then\n\n"
        "-- dbgear:allow drop-table: it is empty\nDROP TABLE a;\n"
        "DROP TABLE b -- dbgear:allow drop-column: within\n;\nDROP TABLE c;\n"
    )
    assert [(allow.rule, allow.reason, allow.line) for allow in migration.up.allows] == [
        ("big-table", "nobody works then", 2),
        ("other", "nobody works then", 2),
    ]
    own = [[(allow.rule, allow.line) for allow in statement.allows] for statement in migration.up.statements]
    assert own == [[("drop-table", 4)], [("drop-column", 6)], []]
    assert migration.allowed["drop-table"] == "it is empty"
