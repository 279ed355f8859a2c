"""Sessions on MySQL and MariaDB: locks, limits, errors, and what the catalog tells."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from dbgear_airflow_provider.core.engines import MySQLServer, ServerAddress, Timeouts, mysql_wire
from dbgear_airflow_provider.core.engines.mysql_variant import Variant
from dbgear_airflow_provider.core.errors import (
    LockTimeoutError,
    OperationTimeoutError,
    ServerUnavailableError,
    StatementError,
    UnsupportedError,
)
from dbgear_airflow_provider.core.schema import Namespace, ObjectKey

SHORT = Timeouts(lock_s=0.2, statement_s=1)
LONG = Timeouts(lock_s=20, statement_s=20)


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(20):
        while not (found := condition()):  # noqa: ASYNC110  the condition is the server's, which tells nobody
            await asyncio.sleep(0.02)
    return found


def running(mariadb: Any, text: str) -> list[int]:
    rows = mariadb.query("SELECT ID, INFO FROM information_schema.PROCESSLIST WHERE INFO IS NOT NULL")
    return [thread for thread, info in rows if text in info and "PROCESSLIST" not in info]


def endless(mark: str) -> str:
    """Return a query that reads for hours. A SLEEP that is interrupted is no error."""
    tables = ", ".join(f"information_schema.COLLATIONS t{number}" for number in range(6))
    return f"SELECT COUNT(*), '{mark}' FROM {tables} WHERE t0.ID + t1.ID + t2.ID + t3.ID + t4.ID + t5.ID < 0"


async def sleep(session: Any, seconds: float, mark: str = "a") -> None:
    await session.apply([f"DO SLEEP({seconds}), '{mark}'"])


async def test_the_server_tells_what_it_is(mariadb, opened):
    async with opened(mariadb) as server:
        assert server.create_database_statement("a`b") == "CREATE DATABASE `a``b` CHARACTER SET utf8mb4"
        await server.ready()
        assert server.dialect.is_mariadb
        assert server.dialect.server_version_info >= (10, 6)
        assert server.folds_names is False
        assert "COLLATE utf8mb4_" in server.create_database_statement("a")
        assert "MariaDB" in await server.version()


@pytest.mark.parametrize(
    ("text", "is_mariadb", "version"),
    [
        ("10.11.19-MariaDB-0+deb12u1", True, (10, 11, 19)),
        ("8.0.36", False, (8, 0, 36)),
        ("8.4.0-commercial", False, (8, 4, 0)),
        ("8.0.mysql_aurora.3.04", False, (8, 0)),
    ],
)
def test_versions(text, is_mariadb, version):
    variant = Variant(text=text, node="n", folds_names=False, collation="utf8mb4_bin")
    assert (variant.is_mariadb, variant.version) == (is_mariadb, version)
    variant.refuse_too_old("main")
    assert variant.dialect is variant.dialect
    assert variant.dialect.is_mariadb is is_mariadb
    setting = "max_statement_time = 1.500" if is_mariadb else "max_execution_time = 1500"
    assert variant.statement_limit(1.5) == setting


@pytest.mark.parametrize("text", ["5.7.44", "10.5.23-MariaDB", "nonsense"])
def test_versions_whose_ddl_is_not_atomic_are_refused(text):
    with pytest.raises(UnsupportedError, match="target main: .* is too old"):
        Variant(text=text, node="n", folds_names=False, collation="utf8mb4_bin").refuse_too_old("main")


async def test_an_unknown_option_is_refused():
    with pytest.raises(UnsupportedError, match="sslmode"):
        MySQLServer("m", ServerAddress(host="h", port=1, user="u", database="", options={"sslmode": "require"}))


async def test_the_catalog_tells_what_a_document_may_hold(mariadb, opened, mysql_database):
    name = mysql_database
    others = [name.upper(), f"{name}é", f"{name}e"]  # alike in the catalog's collation
    for statement in (
        *(f"CREATE DATABASE `{other}`" for other in others),
        f"CREATE TABLE `{others[1]}`.foreigner (id INT)",
        f"CREATE TABLE `{name}`.p (id INT PRIMARY KEY, a INT, b INT, UNIQUE u (a), KEY k (a, b))",
        f"CREATE TABLE `{name}`.`q.%s` (id INT, CONSTRAINT `f` FOREIGN KEY (id) REFERENCES p (id), KEY k (id))",
        f"CREATE VIEW `{name}`.v AS SELECT 1 AS one",
        f"CREATE FUNCTION `{name}`.fn() RETURNS INT DETERMINISTIC RETURN 1",
        f"CREATE PROCEDURE `{name}`.pr() SELECT 1",
        f"CREATE TRIGGER tr BEFORE INSERT ON `{name}`.p FOR EACH ROW SET NEW.a = 1",
    ):
        mariadb.query(statement, name)
    try:
        async with opened(mariadb) as server, server.session("") as session:
            found = await session.objects([Namespace(n) for n in (name, f"{name}e", "nobody's '%s'")])
            assert await session.objects([]) == set()
    finally:
        for other in others:
            mariadb.drop_database(other)
    here = {(key.kind, key.name) for key in found if key.schema == name}
    assert here == {
        ("schema", name),
        *(("table", table) for table in ("p", "q.%s")),
        ("view", "v"),
        *(("index", index) for index in ("p.u", "p.k", "q.%s.k")),
        ("foreign key", "q.%s.f"),
        ("function", "fn"),
        ("procedure", "pr"),
        ("trigger", "tr"),
    }
    assert found - {key for key in found if key.schema == name} == {
        ObjectKey(kind="schema", schema=f"{name}e", name=f"{name}e")
    }


async def test_databases_are_made_once(mariadb, opened, mysql_database):
    async with opened(mariadb) as server:
        name = f"{mysql_database}`'\"%s"
        assert not await server.database_exists(name)
        try:
            assert sorted(await asyncio.gather(*(server.create_database(name) for _ in range(3)))) == [
                False,
                False,
                True,
            ]
            assert await server.database_exists(name)
        finally:
            mariadb.drop_database(name.replace("`", "``"))


async def test_one_holds_a_lock_at_a_time(mariadb, opened):
    async with opened(mariadb) as server, opened(mariadb) as other:
        held: list[int] = []

        async def hold(of: MySQLServer, number: int) -> None:
            async with of.session("") as session, session.locked("tenant", LONG):
                assert not held
                held.append(number)
                await asyncio.sleep(0.02)
                held.remove(number)

        await asyncio.gather(*(hold((server, other)[number % 2], number) for number in range(12)))


async def test_a_lock_that_is_held_is_given_up_and_free_at_its_end(mariadb, opened):
    async with opened(mariadb) as server, server.session("") as first, server.session("") as second:
        async with first.locked("x" * 500, SHORT):
            began = time.monotonic()
            with pytest.raises(LockTimeoutError, match="target main: another session holds the lock of xxx"):
                async with second.locked("x" * 500, SHORT):
                    pytest.fail("two hold it")
            assert 0.2 <= time.monotonic() - began < 2
            async with second.locked("another", SHORT):
                pass
        with pytest.raises(ZeroDivisionError):
            async with second.locked("x" * 500, SHORT):
                raise ZeroDivisionError
        async with first.locked("x" * 500, SHORT):
            pass


async def test_a_lock_ends_with_its_connection(mariadb, opened):
    async with opened(mariadb) as server, server.session("") as second:
        with pytest.raises(ServerUnavailableError):
            async with server.session("") as first, first.locked("x", SHORT):
                mariadb.query(f"KILL {first._wire._raw.thread_id()}")
                await sleep(first, 0)
        async with second.locked("x", SHORT):
            pass


async def test_nothing_is_changed_while_only_reading(mariadb, opened, mysql_database):
    mariadb.query(f"CREATE TABLE `{mysql_database}`.t (id INT)")
    async with opened(mariadb, max_connections=1) as server:
        async with server.session("") as session, session.read_only(SHORT):
            await session.apply([])
            with pytest.raises(UnsupportedError, match="only reading"):
                await session.apply([f"DROP TABLE `{mysql_database}`.t"])
            with pytest.raises(StatementError, match="READ ONLY"):
                await session._wire.run(f"INSERT INTO `{mysql_database}`.t VALUES (1)")
        async with server.session("") as session, session.locked("x", SHORT):
            await session.apply([f"INSERT INTO `{mysql_database}`.t VALUES (1)"])
    assert mariadb.query(f"SELECT * FROM `{mysql_database}`.t") == ((1,),)


async def test_a_statement_that_takes_too_long_is_ended_by_the_server_and_the_session_goes_on(mariadb, opened):
    async with opened(mariadb) as server, server.session("") as session, session.locked("x", SHORT):
        began = time.monotonic()
        with pytest.raises(OperationTimeoutError, match="max_statement_time"):
            await session._wire.run(endless("too long"))
        assert time.monotonic() - began < 3
        assert session._wire.usable
        await sleep(session, 0)


async def test_a_statement_that_somebody_ends_is_worth_a_retry(mariadb, opened):
    async with opened(mariadb) as server, server.session("") as session, session.locked("x", LONG):
        task = asyncio.create_task(session._wire.run(endless("somebody")))
        (thread,) = await until(lambda: running(mariadb, "somebody"))
        mariadb.query(f"KILL QUERY {thread}")
        with pytest.raises(OperationTimeoutError) as told:
            await task
        assert told.value.details["code"] == 1317
        assert session._wire.usable


async def test_cancelling_ends_the_statement_and_the_connection(mariadb, opened):
    async with opened(mariadb, max_connections=1) as server:

        async def work() -> None:
            async with server.session("") as session, session.locked("x", LONG):
                await sleep(session, 20, "cancelled")

        task = asyncio.create_task(work())
        await until(lambda: running(mariadb, "cancelled"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with server.session("") as session, session.locked("x", SHORT):
            await sleep(session, 0)
        assert not running(mariadb, "cancelled")


async def test_a_row_and_a_table_that_are_held_are_told_as_locks(mariadb, opened, mysql_database):
    table = f"`{mysql_database}`.t"
    mariadb.query(f"CREATE TABLE {table} (id INT PRIMARY KEY, n INT)")
    mariadb.query(f"INSERT INTO {table} VALUES (1, 0), (2, 0)")
    holder = mariadb.connect()
    with holder.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"UPDATE {table} SET n = 1 WHERE id = 1")
    held_briefly = Timeouts(lock_s=0.1, statement_s=20)
    async with opened(mariadb) as server, server.session("") as session, session.locked("x", held_briefly):
        for statement in (f"UPDATE {table} SET n = 2 WHERE id = 1", f"ALTER TABLE {table} ADD m INT"):
            with pytest.raises(LockTimeoutError) as told:
                await session.apply([statement])
            assert told.value.details["code"] == 1205
        holder.rollback()
        await session.apply([f"ALTER TABLE {table} ADD m INT"])
    holder.close()


async def test_a_refused_statement_is_named_and_those_before_it_stand(mariadb, opened, mysql_database):
    async with opened(mariadb) as server, server.session("") as session, session.locked("x", SHORT):
        script = [f"CREATE TABLE `{mysql_database}`.a (id INT)", "CREATE NONSENSE '%s :x'", "DROP DATABASE mysql"]
        with pytest.raises(StatementError, match="CREATE NONSENSE '%s :x'") as told:
            await session.apply(script)
        assert told.value.details["code"] == 1064
        assert told.value.details["statement"] == script[1]
    assert mariadb.query(f"SHOW TABLES FROM `{mysql_database}`") == (("a",),)


async def test_values_are_never_cut_whatever_the_servers_own_mode(mariadb, opened, mysql_database):
    before = mariadb.query("SELECT @@GLOBAL.sql_mode, @@GLOBAL.time_zone")[0]
    mariadb.query("SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES', GLOBAL time_zone = '+09:00'")
    try:
        async with opened(mariadb) as server, server.session("") as session, session.locked("x", SHORT):
            await session.apply(
                [f'CREATE TABLE `{mysql_database}`.t (a CHAR(3) COMMENT "back\\\\slash", b TIMESTAMP NULL)']
            )
            with pytest.raises(StatementError, match="too long"):
                await session.apply([f"INSERT INTO `{mysql_database}`.t (a) VALUES ('four')"])
            await session.apply([f"INSERT INTO `{mysql_database}`.t VALUES ('abc', CURRENT_TIMESTAMP)"])
            ((seconds,),) = await session._wire.run(
                f"SELECT TIMESTAMPDIFF(SECOND, CAST(b AS DATETIME), UTC_TIMESTAMP()) FROM `{mysql_database}`.t"
            )
            assert abs(seconds) < 60
    finally:
        mariadb.query(f"SET GLOBAL sql_mode = '{before[0]}', GLOBAL time_zone = '{before[1]}'")
    ((comment,),) = mariadb.query(
        "SELECT COLUMN_COMMENT FROM information_schema.COLUMNS "
        f"WHERE TABLE_SCHEMA = '{mysql_database}' AND COLUMN_NAME = 'a'"
    )
    assert comment == "back\\slash"


async def test_tables_are_the_documents_whatever_the_servers_own_defaults(mariadb, opened, mysql_database):
    settings = ("default_storage_engine", "foreign_key_checks", "explicit_defaults_for_timestamp", "completion_type")
    (before,) = mariadb.query("SELECT " + ", ".join(f"@@GLOBAL.{name}" for name in settings))
    table = f"`{mysql_database}`.t"
    try:
        for name, value in zip(settings, ("Aria", 0, 0, 1), strict=True):
            mariadb.query(f"SET GLOBAL {name} = {value}")
        async with opened(mariadb, max_connections=1) as server:
            async with server.session("") as session, session.read_only(SHORT):
                pass
            async with server.session("") as session, session.locked("x", SHORT):
                await session.apply(
                    [
                        f"CREATE TABLE {table} (id INT PRIMARY KEY, a TIMESTAMP NOT NULL, b TIMESTAMP NOT NULL)",
                        f"ALTER TABLE {table} ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES {table} (id)",
                    ]
                )
                assert ObjectKey(kind="foreign key", schema=mysql_database, name="t.f") in await session.objects(
                    [Namespace(mysql_database)]
                )
                with pytest.raises(StatementError, match="referenced table|errno: 150"):
                    await session.apply([f"ALTER TABLE {table} ADD FOREIGN KEY (id) REFERENCES nowhere.none (id)"])
    finally:
        for name, value in zip(settings, before, strict=True):
            mariadb.query(
                f"SET GLOBAL {name} = '{value}'" if isinstance(value, str) else f"SET GLOBAL {name} = {value}"
            )
    ((_, created),) = mariadb.query(f"SHOW CREATE TABLE {table}")
    assert "ENGINE=InnoDB" in created
    assert "timestamp NOT NULL," in created
    assert "current_timestamp" not in created
    assert "0000" not in created


async def test_a_statement_cannot_carry_another(mariadb, opened, mysql_database):
    async with opened(mariadb) as server, server.session("") as session, session.locked("x", SHORT):
        with pytest.raises(StatementError) as told:
            await session.apply([f"CREATE TABLE `{mysql_database}`.t (id INT); DROP DATABASE `{mysql_database}`"])
        assert told.value.details["code"] == 1064
        await session.apply(
            [f"CREATE PROCEDURE `{mysql_database}`.p() BEGIN SELECT 1; SELECT 2; END", f"CALL `{mysql_database}`.p()"]
        )
    assert mariadb.query(f"SHOW TABLES FROM `{mysql_database}`") == ()


async def test_a_statement_that_is_too_large_is_terminal(mariadb, opened):
    async with opened(mariadb, max_connections=1) as server:
        with pytest.raises(StatementError, match="max_allowed_packet"):
            async with server.session("") as session, session.locked("x", SHORT):
                await session.apply(["DO '" + "x" * 17_000_000 + "'"])
        assert "MariaDB" in await server.version()


@pytest.mark.parametrize("password", ["pässwörd", "パスワード"])
async def test_a_password_in_any_script(mariadb, opened, mysql_database, password):
    mariadb.query(f"CREATE USER '{mysql_database}'@'%' IDENTIFIED BY '{password}'")
    try:
        async with opened(mariadb, user=mysql_database, password=password) as server:
            assert "MariaDB" in await server.version()
    finally:
        mariadb.query(f"DROP USER '{mysql_database}'@'%'")


async def test_a_lock_that_cannot_be_given_back_ends_with_its_connection(mariadb, opened, monkeypatch):
    run = mysql_wire.Wire.run

    async def interrupted(self: Any, sql: str, *values: Any, told: str | None = None) -> Any:
        if "RELEASE_LOCK" in sql:
            raise OperationTimeoutError("interrupted", code=1317)
        return await run(self, sql, *values, told=told)

    async with opened(mariadb) as server, opened(mariadb) as other:
        with monkeypatch.context() as patch:
            patch.setattr(mysql_wire.Wire, "run", interrupted)
            with pytest.raises(OperationTimeoutError):
                async with server.session("") as session, session.locked("x", SHORT):
                    pass
        async with other.session("") as session, session.locked("x", LONG):
            pass


async def test_keys_are_checked_again_when_a_scratch_place_cannot_be_dropped(mariadb, opened, mysql_database):
    mariadb.query(f"CREATE USER '{mysql_database}'@'%' IDENTIFIED BY 'x'")
    try:
        async with opened(mariadb, user=mysql_database, password="x", max_connections=1) as server:
            with pytest.raises(StatementError) as told:
                async with server.session("") as session, session.scratch(1, SHORT):
                    pass
            assert told.value.details["code"] == 1044
            async with server.session("") as session:
                assert await session.select("SELECT @@foreign_key_checks") == [(1,)]
    finally:
        mariadb.query(f"DROP USER '{mysql_database}'@'%'")


async def test_connections_are_kept_and_no_more_than_allowed(mariadb, opened):
    async with opened(mariadb, max_connections=3) as server:
        used: set[int] = set()

        async def use() -> None:
            async with server.session("") as session:
                used.add(session._wire._raw.thread_id())
                await asyncio.sleep(0.01)

        await asyncio.gather(*(use() for _ in range(20)))
        assert len(used) == 3
        await server.aclose()
        await server.aclose()
        await use()  # it may be used again
        assert len(used) == 4


async def test_a_wrong_password_and_a_missing_right_are_terminal(mariadb, opened, mysql_database):
    async with opened(mariadb, password="wrong") as server:
        with pytest.raises(StatementError) as told:
            await server.ready()
        assert told.value.details["code"] == 1045
        assert "wrong" not in str(told.value).replace("wrong_", "")
    mariadb.query(f"CREATE USER '{mysql_database}'@'%' IDENTIFIED BY 'x'")
    try:
        async with opened(mariadb, user=mysql_database, password="x") as server:
            with pytest.raises(StatementError) as told:
                await server.create_database(f"{mysql_database}_2")
            assert told.value.details["code"] == 1044
    finally:
        mariadb.query(f"DROP USER '{mysql_database}'@'%'")
