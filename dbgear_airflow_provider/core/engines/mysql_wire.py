"""Connections to MySQL and MariaDB over asyncmy: errors by number, bounded waits, nothing half read."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from textwrap import shorten
from typing import Any, NoReturn

from ..errors import (
    DbgearError,
    LockTimeoutError,
    OperationTimeoutError,
    ServerUnavailableError,
    StatementError,
    UnsupportedError,
)
from .base import ServerAddress, Timeouts
from .mysql_variant import FACTS, Variant

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 15
KILL_TIMEOUT_S = 5
# How much later than the server we give a statement up: its own error says more.
GRACE_S = 2
DEFAULT_TIMEOUTS = Timeouts(lock_s=10, statement_s=60)

# A document makes the same objects on every server, and no value is cut to fit. Not among them: modes that change what
# a backslash or a quotation mark in a literal means.
_SQL_MODE = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
# Seconds after which the server ends a session that does nothing, and with it its locks: a worker's machine that
# vanished says no goodbye. Ours are asked before they are used again.
_WAIT_TIMEOUT_S = 300
# Other engines take a foreign key and forget it, and a ROLLBACK that chains begins the next transaction.
_SETTINGS = (
    f"SET SESSION sql_mode = '{_SQL_MODE}', time_zone = '+00:00', wait_timeout = {_WAIT_TIMEOUT_S}, "
    "default_storage_engine = InnoDB, foreign_key_checks = 1, completion_type = 0"
)
# Where it is off, the default of MariaDB before 10.10, a TIMESTAMP NOT NULL without a default gets one, and ON UPDATE.
_NO_DEFAULTS = "SET SESSION explicit_defaults_for_timestamp = 1"
# The client's address and port: numbers of threads begin anew when the server does, so one alone tells nobody apart.
_PEER = "SELECT HOST FROM information_schema.PROCESSLIST WHERE ID = %s"
# A connection that lay idle for longer than that is asked whether it is still there.
_FRESH_S = 1.0

# https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html, https://mariadb.com/kb/en/mariadb-error-codes/
_LOCKED = {1205, 1213, 3572}  # lock wait timeout (metadata locks too), deadlock, NOWAIT
_CANCELLED = {1317, 1969, 3024}  # KILL QUERY, statement time of MariaDB and of MySQL
_AWAY = {
    *(1040, 1203, 1226),  # too many connections: of all, of the account at once, of the account in an hour
    *(1053, 1077, 1079, 1080),  # shutting down
    *(1927, 3169, 4031),  # session killed in MariaDB, in MySQL, idle for too long
    *(1152, 1158, 1159, 1160, 1161, 1184),  # the network between us
    1047,  # a node of Galera that is not ready
}
_TOO_LARGE = 1153  # a statement that is longer than max_allowed_packet; the server hangs up
_NO_SUCH_THREAD = 1094
# The account's way to log in is one that the driver has not, now and always.
_NO_SUCH_PLUGIN = {2059, 2061}
_NOT_OURS_TO_SET = {(1227,), (1229,), (1238,)}  # needs a right, is global, is for the server's start only
_FIRST_SERVER_ERROR, _CLIENT_ERRORS = 1000, range(2000, 3000)  # 2002, 2003, 2006, 2013, ...


def driver() -> Any:
    """Return the module asyncmy. Raises UnsupportedError where it is not installed."""
    try:
        import asyncmy  # noqa: PLC0415 - an extra of this package
        import asyncmy.connection  # noqa: PLC0415
        import asyncmy.constants.CLIENT  # noqa: PLC0415
        import asyncmy.errors  # noqa: PLC0415
    except ModuleNotFoundError:
        raise UnsupportedError("MySQL needs the driver asyncmy: `pip install airflow-provider-dbgear[mysql]`") from None
    return asyncmy


class Wire:
    """One connection. `usable` is False once an answer may be on its way that nobody waits for."""

    def __init__(self, raw: Any, server: str, address: ServerAddress) -> None:
        self._raw = raw
        self._server = server
        self._address = address
        self._limit_s = DEFAULT_TIMEOUTS.statement_s + GRACE_S
        self._timeouts: Timeouts | None = None
        self._idle_since = 0.0
        self._peer: list[tuple[Any, ...]] = []
        self.variant: Variant
        self.usable = True

    @classmethod
    async def connect(cls, server: str, address: ServerAddress) -> Wire:
        """Connect, log in and set the session up, all within CONNECT_TIMEOUT_S."""
        with translated(server, "connect", late=ServerUnavailableError):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                wire = cls(await _connect(address, CONNECT_TIMEOUT_S), server, address)
                try:
                    await _execute(wire._raw, _SETTINGS)
                    ((text, node, fold, collation, explicit),) = await _execute(wire._raw, FACTS)
                    if not int(explicit):
                        await wire._leave_timestamps_alone()
                    wire._peer = await _execute(wire._raw, _PEER, (wire._raw.thread_id(),))
                except BaseException:
                    wire.close()
                    raise
        wire.variant = Variant(text=text, node=node, folds_names=int(fold) == 1, collation=collation)
        return wire

    async def run(self, sql: str, *values: Any, told: str | None = None) -> list[tuple[Any, ...]]:
        """Execute a statement and return its rows. told: what errors say of it, instead of its text.

        Where it does not come to its end, because it takes too long, we are cancelled or the connection breaks, the
        connection is closed and the server is told to end the statement too.
        """
        if not self.usable:
            raise ServerUnavailableError(f"target {self._server}: the connection is closed", statement=told or sql)
        try:
            with translated(self._server, told or sql):
                async with asyncio.timeout(self._limit_s):
                    return await _execute(self._raw, sql, values or None)
        except (StatementError, LockTimeoutError) as error:
            if error.details.get("code") == _TOO_LARGE:
                self.close()
            raise  # the server's answer, read to its end
        except DbgearError as error:
            if not _is_answer(error):
                await self._abandon(error)
            raise
        except BaseException:
            await self._abandon()
            raise

    async def finish(self, sql: str, *values: Any) -> None:
        """Execute what a use ends with; where that fails, closing ends it. One that is closed has ended it already."""
        if not self.usable:
            return
        try:
            await self.run(sql, *values)
        except BaseException:
            self.close()
            raise

    async def bound(self, timeouts: Timeouts) -> None:
        """Let the server and us wait no longer than that from now on."""
        if timeouts == self._timeouts:
            return
        lock_s = max(1, math.ceil(timeouts.lock_s))  # whole seconds, at least one
        await self.run(
            f"SET SESSION lock_wait_timeout = {lock_s}, innodb_lock_wait_timeout = {lock_s}, "
            + self.variant.statement_limit(timeouts.statement_s)
        )
        self._timeouts, self._limit_s = timeouts, timeouts.statement_s + GRACE_S

    async def answers(self) -> bool:
        """Tell whether a connection that lay idle is still good."""
        if not self.usable or not self._raw.connected:
            return False
        if asyncio.get_running_loop().time() - self._idle_since <= _FRESH_S:
            return True
        try:
            async with asyncio.timeout(KILL_TIMEOUT_S):
                await self._raw.ping(reconnect=False)
        except (driver().errors.MySQLError, OSError, TimeoutError):
            return False
        return True

    def rest(self) -> None:
        """Take note that it lies idle from now on."""
        self._idle_since = asyncio.get_running_loop().time()

    def close(self) -> None:
        """Close without a word; the server sees it when it next reads or writes."""
        self.usable = False
        self._raw.close()

    async def leave(self) -> None:
        """Say goodbye and close."""
        self.usable = False
        with suppress(driver().errors.MySQLError, OSError, TimeoutError):
            async with asyncio.timeout(KILL_TIMEOUT_S):
                await self._raw.ensure_closed()
        self._raw.close()

    async def _leave_timestamps_alone(self) -> None:
        try:
            await _execute(self._raw, _NO_DEFAULTS)
        except driver().errors.MySQLError as error:
            if error.args[:1] not in _NOT_OURS_TO_SET:
                raise
            text = "target %s: explicit_defaults_for_timestamp is OFF, TIMESTAMP columns get defaults of the server's"
            log.warning(text, self._server)

    async def _abandon(self, error: DbgearError | None = None) -> None:
        """Close, and end what the server still does for us: it would notice only at the statement's end.

        An operation that took too long on a server that answers nobody is told as a server that is away.
        """
        self.close()
        try:
            async with asyncio.timeout(KILL_TIMEOUT_S):
                raw = await _connect(self._address, KILL_TIMEOUT_S)
                try:
                    # Behind one address there may be several servers, each with numbers of its own.
                    ((_, node, *_),) = await _execute(raw, FACTS)
                    thread = self._raw.thread_id()
                    if node == self.variant.node and self._peer == await _execute(raw, _PEER, (thread,)) != []:
                        await _execute(raw, f"KILL {thread}")
                finally:
                    raw.close()
        except (driver().errors.MySQLError, OSError, TimeoutError) as failure:
            if failure.args[:1] == (_NO_SUCH_THREAD,):
                return  # it has ended
            log.info("target %s: connection %s was not ended: %r", self._server, self._raw.thread_id(), failure)
            if isinstance(error, OperationTimeoutError):
                text = f"target {self._server}: no answer"
                raise ServerUnavailableError(text, statement=error.details.get("statement")) from failure


async def _connect(address: ServerAddress, timeout_s: float) -> Any:
    asyncmy = driver()
    raw = asyncmy.connection.Connection(
        host=address.host,
        port=address.port,
        user=address.user,
        # As bytes: of text the driver makes Latin-1, and servers take UTF-8.
        password=(address.password or "").encode(),
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=timeout_s,
        **({} if address.tls is None else {"ssl": address.tls}),
    )
    # The driver always asks for it. Text of a document must not be able to end its statement and begin another.
    raw._client_flag &= ~asyncmy.constants.CLIENT.MULTI_STATEMENTS
    try:
        await raw.connect()
    except RuntimeError as error:  # how the driver says that a package for the account's way to log in is missing
        raw.close()
        raise UnsupportedError(f"{address.host}: {error}") from error
    return raw


async def _execute(raw: Any, sql: str, values: tuple[Any, ...] | None = None) -> list[tuple[Any, ...]]:
    cursor = raw.cursor()
    # Without values the text goes to the server as it is, whatever % is in it.
    await cursor.execute(sql, values)
    rows = list(await cursor.fetchall()) if cursor.description else []
    await cursor.close()
    return rows


def _is_answer(error: DbgearError) -> bool:
    """Tell whether the server said it, on a connection that goes on."""
    code = error.details.get("code")
    return code in _CANCELLED


@contextmanager
def translated(server: str, statement: str, late: type[DbgearError] = OperationTimeoutError) -> Iterator[None]:
    """Raise the driver's errors as ours, and `late` where no answer came in time.

    statement: what was done, for the error's text.
    """
    errors = driver().errors
    try:
        yield
    except errors.MySQLError as error:
        _raise(error, server, statement)
    except TimeoutError as error:
        raise late(f"target {server}: no answer in time", statement=statement) from error
    except OSError as error:
        text = str(error) or type(error).__name__
        raise ServerUnavailableError(f"target {server}: {text}", statement=statement) from error


def _raise(error: Any, server: str, statement: str) -> NoReturn:
    code, message = (*error.args, "", "")[:2]
    number = code if isinstance(code, int) else 0
    text = f"target {server}: {message or code}"
    details = {"code": number, "statement": statement}
    if number in _LOCKED:
        raise LockTimeoutError(text, **details) from error
    if number in _CANCELLED:
        raise OperationTimeoutError(text, **details) from error
    if number in _NO_SUCH_PLUGIN:
        raise UnsupportedError(f"{text} (errno {number})", **details) from error
    # Numbers below are the driver's own, of a connection that it has closed.
    if number in _AWAY or number in _CLIENT_ERRORS or number < _FIRST_SERVER_ERROR:
        raise ServerUnavailableError(text, **details) from error
    raise StatementError(f"{text} (errno {number}) in: {shorten(statement, 300)}", **details) from error
