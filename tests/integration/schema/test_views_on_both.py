"""Views on both servers: the same rows, or told beforehand that they cannot be. Never a server's error."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.dialects import mysql

from dbgear_airflow_provider.core.engines import PostgresServer
from dbgear_airflow_provider.core.errors import DocumentError, UnsupportedError
from dbgear_airflow_provider.core.schema import Namespace, prepare
from dbgear_airflow_provider.core.schema.functions import known_functions
from dbgear_airflow_provider.sandbox.postgres import PostgresServer as Cluster
from tests.integration.schema.nasty import column
from tests.servers.mariadb import MySQLServer

POSTGRES = PostgresServer.dialect
MARIADB = mysql.dialect(paramstyle="named", is_mariadb=True)
KEY = column("id", "INT", primaryKey=1, nullable=False)
TABLES = {
    "users": {
        "columns": [
            KEY,
            column("userName", "VARCHAR(20)"),
            column("active", "TINYINT(1)"),
            column("at", "DATETIME"),
            column("d", "DOUBLE"),
            column("note", "TEXT"),
            column("j", "JSON"),
        ]
    },
    "orders": {"columns": [KEY, column("user_id", "INT"), column("total", "DECIMAL(10,2)")]},
}
ROWS = (
    """INSERT INTO {}users VALUES (1, 'taro', {}, '2024-01-09 03:04:05', 2.345, 'a-b 日本', '{{"x": "赤"}}')""",
    """INSERT INTO {}users VALUES (2, 'Hanako', {}, '2023-12-31 23:59:58', -1.5, NULL, NULL)""",
    "INSERT INTO {}users VALUES (3, NULL, {}, NULL, NULL, 'x', NULL)",
    "INSERT INTO {}orders VALUES (1, 1, 10.50)",
    "INSERT INTO {}orders VALUES (2, 1, 2.25)",
    "INSERT INTO {}orders VALUES (7, 2, NULL)",
)
TRUTHS = {0: ("1", "TRUE"), 1: ("0", "FALSE"), 2: ("NULL", "NULL")}

SAME = [
    # names in another case, aliases
    "SELECT USERNAME FROM users",
    "SELECT u.username n FROM users u ORDER BY N",
    "SELECT x.N FROM (SELECT userName AS n FROM users) x",
    "WITH a(p, q) AS (SELECT id, username FROM users) SELECT P, q FROM a",
    "SELECT ID, total FROM users JOIN orders USING (ID)",
    "SELECT id FROM users UNION SELECT id FROM orders ORDER BY ID",
    "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n+1 FROM t WHERE n < 5) SELECT N FROM t",
    "SELECT (SELECT COUNT(*) FROM orders o WHERE o.user_id = users.id AND USERNAME = 'taro') AS n FROM users",
    "SELECT u.userName, COUNT(*) AS c FROM users u JOIN orders o ON o.user_id = u.id GROUP BY u.id HAVING c > 1",
    "SELECT YEAR(at) AS y, SUM(d) AS total FROM users GROUP BY YEAR(at), active HAVING total > 1 ORDER BY YEAR(AT)",
    "SELECT YEAR(at) AS y, SUM(d) AS total FROM users GROUP BY y",
    "SELECT DISTINCT active AS a FROM users ORDER BY A",
    "SELECT STRAIGHT_JOIN id FROM users",
    # truths and numbers
    "SELECT SUM(active) AS a, SUM(userName = 'taro') AS b, AVG(active) AS c, SUM(d > 1 AND id < 3) AS e FROM users",
    "SELECT id FROM users WHERE active = 1 OR (id AND NOT d)",
    "SELECT id FROM users WHERE active XOR (d < 0)",
    "SELECT active + 1 AS a, -active AS b, active = id AS c, IFNULL(active, 0) AS e, IF(id, active, 0) AS f FROM users",
    "SELECT id FROM users WHERE active IN (0, 1) AND active <> 0",
    "SELECT CASE WHEN active THEN 'a' ELSE 'b' END AS s, CASE id WHEN 1 THEN 'one' END AS t FROM users",
    "SELECT id DIV 2 AS a, id % 2 AS b, id / 2 AS c, d MOD 2 AS e, id DIV (id - 1) AS f, id MOD 0 AS g FROM users",
    "SELECT ROUND(d, 2) AS r, ROUND(id) AS s, TRUNCATE(d, 1) AS t, GREATEST(d, id) AS g, LEAST(1, d) AS l FROM users",
    "SELECT LOG10(id) AS b, LOG(2, id) AS c, POW(d, 2) AS e, SIGN(d) AS g, LN(id) AS h, LOG(id) AS i FROM users",
    "SELECT EXISTS(SELECT 1 FROM orders) AS e, id IN (SELECT user_id FROM orders) AS i FROM users",
    "SELECT STDDEV(user_id) AS s, VARIANCE(id) AS v FROM orders",
    # text
    "SELECT LENGTH(note) AS l, CHAR_LENGTH(note) AS c, CONCAT(id, '-', userName) AS cc FROM users",
    "SELECT SUBSTRING(userName, -3) AS a, SUBSTR(note, 2) AS b, MID(userName, 1, 2) AS e, MD5(note) AS f FROM users",
    "SELECT LPAD(id, 5, '0') AS a, LEFT(id, 2) AS b, UPPER(userName) AS c, LOCATE('o', userName, 2) AS g FROM users",
    "SELECT CONCAT_WS('-', id, NULL, userName) AS c, COALESCE(NULL, note, 'x') AS n, ISNULL(note) AS q FROM users",
    "SELECT CAST(id AS CHAR) AS a, CAST(12345 AS CHAR(3)) AS b, CAST('1' AS UNSIGNED) AS c FROM users",
    "SELECT CONVERT(userName USING utf8mb4) AS a, REPLACE(note, 'a', 'b') AS b, TRIM(note) AS c FROM users",
    "SELECT id FROM users WHERE id LIKE '1%' AND note REGEXP '^a' AND note NOT REGEXP 'z'",
    "SELECT GROUP_CONCAT(id ORDER BY id DESC SEPARATOR '/') AS ids, GROUP_CONCAT(DISTINCT active) AS g FROM users",
    "SELECT GROUP_CONCAT(id, ':', userName ORDER BY id) AS h, GROUP_CONCAT(userName ORDER BY id) AS i FROM users",
    # times
    "SELECT DATE_FORMAT(at, '%Y年%c月%e日 (%a) QQ %H:%i:%s %p %M %W %j %%') AS x FROM users",
    "SELECT HOUR(at) AS h, MINUTE(at) AS m, SECOND(at) AS s, QUARTER(at) AS q, DAYOFYEAR(at) AS y FROM users",
    "SELECT DAYOFWEEK(at) AS w, WEEKDAY(at) AS wd, LAST_DAY(at) AS l, DATEDIFF('2024-02-01', at) AS dd FROM users",
    "SELECT id FROM users WHERE at > '2024-01-01' AND at BETWEEN CURDATE() - INTERVAL 99 YEAR AND NOW()",
    "SELECT DATE_SUB(at, INTERVAL 30 DAY) AS a, DATE_ADD(at, INTERVAL 1 MONTH) AS b, DATE(at) AS c FROM users",
    # JSON, limits
    "SELECT JSON_UNQUOTE(JSON_EXTRACT(j, '$.x')) AS p FROM users",
    "SELECT id FROM users ORDER BY id LIMIT 1, 1",
    "SELECT a.id, ROW_NUMBER() OVER (PARTITION BY a.active ORDER BY a.id) AS rn, SUM(a.id) OVER w AS s FROM users a "
    "WINDOW w AS (ORDER BY a.id)",
]  # fmt: skip


def prepared(text: str, dialect: Any, name: str) -> Any:
    tree = {"schemas": {"main": {"tables": TABLES, "views": {"v": {"selectStatement": text}}}}}
    return prepare(tree, {"main": Namespace(name)}, dialect, where="t.j2").missing(set())


Show = Callable[[str], list[tuple[Any, ...]]]


def _rows(rows: Any) -> list[tuple[Any, ...]]:
    def plain(value: Any) -> Any:
        if isinstance(value, bool | int | float | Decimal):
            return round(float(value), 3)
        if isinstance(value, datetime.datetime) and value.time() == datetime.time():
            return value.date()
        return value

    return sorted((tuple(map(plain, row)) for row in rows), key=repr)


@pytest.fixture(scope="module")
def on_postgres(postgres: Cluster) -> Iterator[Show]:
    database = f"test_{os.urandom(6).hex()}"
    postgres.create_database(database)
    with postgres.connect(database) as connection:
        for item in prepared("SELECT 1 AS n", POSTGRES, "main"):
            for sql in item.statements:
                connection.execute(sql.encode())
        for number, row in enumerate(ROWS):
            connection.execute(row.format("main.", TRUTHS.get(number, ("", ""))[1]).encode())

        def show(text: str) -> list[tuple[Any, ...]]:
            connection.execute(b"DROP VIEW IF EXISTS main.v")
            connection.execute(prepared(text, POSTGRES, "main")[-1].statements[0].encode())
            return _rows(connection.execute(b"SELECT * FROM main.v", prepare=False).fetchall())

        yield show
    postgres.drop_database(database)


@pytest.fixture(scope="module")
def on_mariadb(mariadb: MySQLServer) -> Iterator[Show]:
    name = f"test_{os.urandom(6).hex()}"
    for item in prepared("SELECT 1 AS n", MARIADB, name):
        for sql in item.statements:
            mariadb.query(sql)
    for number, row in enumerate(ROWS):
        mariadb.query(row.format(f"{name}.", TRUTHS.get(number, ("", ""))[0]))

    def show(text: str) -> list[tuple[Any, ...]]:
        mariadb.query(f"DROP VIEW IF EXISTS {name}.v")
        mariadb.query(prepared(text, MARIADB, name)[-1].statements[0])
        return _rows(mariadb.query(f"SELECT * FROM {name}.v"))

    yield show
    mariadb.drop_database(name)


@pytest.mark.parametrize("text", SAME)
def test_the_same_rows(text: str, on_postgres: Show, on_mariadb: Show) -> None:
    assert on_postgres(text) == on_mariadb(text) != []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("SELECT userName, COUNT(*) AS c FROM users GROUP BY active", "PostgreSQL wants userName in GROUP BY"),
        ("SELECT MAX(id) AS m, userName FROM users", "PostgreSQL wants userName in GROUP BY"),
        ("SELECT DISTINCT id FROM users ORDER BY at", "orders a SELECT DISTINCT by what it selects, not by at"),
        ("SELECT id FROM users WHERE userName = 1", "text together with a number"),
        ("SELECT IFNULL(id, '') AS a FROM users", "'' together with a number"),
        ("SELECT id FROM users WHERE at > '0000-00-00'", "'0000-00-00' together with a date"),
        ("SELECT id FROM users WHERE userName", "text as a condition"),
        ("SELECT BINARY userName AS b FROM users", "BINARY"),
        ("SELECT userName COLLATE utf8mb4_bin AS a FROM users", "COLLATE"),
        ("SELECT DATE_FORMAT(at, userName) AS c FROM users", "DATE_FORMAT with a format that is no text in quotes"),
        ("SELECT DATE_FORMAT(at, '%D') AS c FROM users", "DATE_FORMAT with %D"),
        ("SELECT SUBSTRING(userName, -3, 2) AS c FROM users", "SUBSTRING from the end"),
        ("SELECT GROUP_CONCAT(DISTINCT id ORDER BY id) AS c FROM users", "GROUP_CONCAT of DISTINCT"),
        ("SELECT TIMESTAMPDIFF(DAY, at, NOW()) AS c FROM users", "has no function TIMESTAMPDIFF"),
        ("SELECT SHA2(note, 256) AS c FROM users", "has no function"),
        ("SELECT UTC_DATE AS c FROM users", "has no UTC_DATE"),
        ("SELECT jt.x FROM users, JSON_TABLE(j, '$[*]' COLUMNS (x INT PATH '$.a')) jt", "JSON_TABLE"),
    ],
)
def test_what_postgresql_cannot_say_is_told_and_exists_on_mariadb(text: str, why: str, on_mariadb: Show) -> None:
    with pytest.raises(UnsupportedError) as caught:
        prepared(text, POSTGRES, "main")
    assert why in caught.value.details["problems"][0]
    on_mariadb(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("SELECT nope FROM users", "no such column; received 'nope'"),
        ("SELECT U.id FROM users u", "no such column; received 'U.id'"),
        ("SELECT o.id FROM users u", "no such column; received 'o.id'"),
        ("SELECT u.nope FROM users u JOIN orders o ON o.user_id = u.id", "no such column; received 'u.nope'"),
        ("SELECT id FROM users u, orders o", "a column is there twice; received 'id'"),
        ("SELECT * FROM users u JOIN orders o ON u.id = o.user_id", "a column is there twice; received 'id'"),
        ("SELECT COUNT(*), COUNT(*) FROM users", "a column is there twice"),
        ("SELECT id FROM users WHERE (SELECT 1 FROM orders WHERE orders.nope = users.id)", "received 'orders.nope'"),
    ],
)
def test_what_no_server_takes_names_the_view(text: str, problem: str) -> None:
    for dialect in (POSTGRES, MARIADB):
        with pytest.raises(DocumentError) as caught:
            prepared(text, dialect, "main")
        assert caught.value.details["where"] == "main.v"
        assert problem in str(caught.value)


def test_postgresql_has_the_functions_that_we_know(postgres: Cluster) -> None:
    with postgres.connect("postgres") as connection:
        there = {row[0].upper() for row in connection.execute("SELECT proname FROM pg_proc").fetchall()}
    assert known_functions() - there == set()
