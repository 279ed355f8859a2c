"""What a database says when something goes wrong, as errors of the core."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ...errors import DbgearError, RegistryRecordError, SettingsError, SourceUnavailableError

# https://www.postgresql.org/docs/current/errcodes-appendix.html, beginnings of SQLSTATEs.
# 0A000 is a plan that the driver kept from before the table was changed, and makes anew.
_PG_TRANSIENT = ("08", "0A000", "40", "53", "55P03", "55006", "57", "58")
_PG_RECORD = ("21", "22", "23")
# https://mariadb.com/kb/en/mariadb-error-code-reference/ and the same for MySQL: locks, limits, broken
# connections, and a node of Galera that is not ready.
_MYSQL_TRANSIENT = frozenset(
    [
        *(1040, 1047, 1053, 1077, 1079, 1080, 1129, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1205, 1213, 1226),
        *(1317, 1927, 1969, 3024, 3169, 4031),
        *(2002, 2003, 2005, 2006, 2013, 2014, 2055),
    ]
)
_MYSQL_RECORD = frozenset(
    (1048, 1062, 1169, 1216, 1264, 1265, 1292, 1364, 1366, 1406, 1451, 1452, 1557, 1586, 3140, 3819, 4025)
)
_SQLITE_TRANSIENT = (
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_IOERR",
    "SQLITE_CANTOPEN",
    "SQLITE_FULL",
    "SQLITE_INTERRUPT",
)
_SQLITE_RECORD = ("SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_TOOBIG")

# Settings that are wrong whatever the statement was, in words that tell what to look at.
_TOLD = {
    "28": "the database refuses the user or the password",
    "3D": "no such database",
    "42501": "the user may not do this",
    "1044": "the user may not use this database",
    "1045": "the database refuses the user or the password",
    "1698": "the database refuses the user or the password",
    "1049": "no such database",
    "1142": "the user may not do this",
    "1143": "the user may not do this",
}

# asyncpg shows the values that it refuses.
_DRIVERS_VALUE = re.compile(r"(invalid input for query argument \$\d+):.*", re.DOTALL)
_SQLSTATE = re.compile(r"[0-9A-Z]{5}")


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise what a block's statements raise as errors of the core. where: the source, as errors name it."""
    try:
        yield
    except DbgearError:
        raise
    except (
        SQLAlchemyError,
        OSError,
        OverflowError,
        UnicodeError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
    ) as error:
        _forget_values(error)
        raise _told(error, where) from error


def _forget_values(error: BaseException | None) -> None:
    """Cut the row, or the value, from what is wrong: tracebacks show the causes of errors in logs."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, asyncpg.PostgresError):
            error.detail = None
        error.args = tuple(_cut(word) if isinstance(word, str) else word for word in error.args)
        error = getattr(error, "orig", None) or error.__cause__ or error.__context__


def _cut(words: str) -> str:
    return _DRIVERS_VALUE.sub(r"\1", words.split("\n", 1)[0])


def code_of(error: BaseException | None) -> str | None:
    """Return the SQLSTATE, errno or name by which a server or a driver tells what is wrong; None where it does not."""
    while error is not None:
        if not isinstance(error, OSError) and error.args and type(error.args[0]) is int:
            return str(error.args[0])  # of MySQL, before its SQLSTATE, which tells less
        for name in ("sqlstate", "sqlite_errorname"):
            code = getattr(error, name, None)
            if isinstance(code, str):
                return code
        error = getattr(error, "orig", None) or error.__cause__
    return None


def _told(error: Exception, where: str) -> DbgearError:
    code = code_of(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return SettingsError("the certificate of the database is not trusted", where=where)
    if isinstance(error, OSError | PoolTimeoutError) or getattr(error, "connection_invalidated", False):
        return _unavailable(error, where, code)
    return _without_code(error, where) if code is None else _of_code(error, where, code)


def _without_code(error: Exception, where: str) -> DbgearError:
    """Return what a driver or SQLAlchemy itself says, before or after it talked to the server."""
    if _of_class(error, asyncpg.exceptions.ClientConfigurationError):
        return SettingsError(f"cannot be connected to: {_message(error)}", where=where)
    if _is_of_a_value(error):
        return RegistryRecordError("a value does not fit into its column", where=where)
    if isinstance(error, DBAPIError) or not isinstance(error, SQLAlchemyError):
        return _unavailable(error, where, None)
    return SettingsError(f"cannot be used as a table ({type(error).__name__})", where=where)


def _of_code(error: Exception, where: str, code: str) -> DbgearError:
    if _is_transient(code):
        return _unavailable(error, where, code)
    for beginning, problem in _TOLD.items():
        if code.startswith(beginning) and (len(beginning) > 2 or _SQLSTATE.fullmatch(code)):  # noqa: PLR2004 - a class
            return SettingsError(f"{problem} ({code})", where=where)
    kind = RegistryRecordError if _is_of_a_record(code) else SettingsError
    return kind(f"the database refuses the statement ({code}): {_message(error)}", where=where)


def _is_of_a_value(error: BaseException | None) -> bool:
    """Tell whether the driver itself refuses a value, before it asks the server."""
    return _of_class(error, ValueError, OverflowError, TypeError)


def _of_class(error: BaseException | None, *classes: type[BaseException]) -> bool:
    while error is not None and not isinstance(error, classes):
        error = getattr(error, "orig", None) or error.__cause__
    return error is not None


def _is_transient(code: str) -> bool:
    if code.isdigit() and len(code) == 4:  # noqa: PLR2004 - MySQL's numbers
        return int(code) in _MYSQL_TRANSIENT
    return code.startswith(_SQLITE_TRANSIENT if code.startswith("SQLITE_") else _PG_TRANSIENT)


def _is_of_a_record(code: str) -> bool:
    if code.isdigit() and len(code) == 4:  # noqa: PLR2004
        return int(code) in _MYSQL_RECORD
    return code.startswith(_SQLITE_RECORD if code.startswith("SQLITE_") else _PG_RECORD)


def _unavailable(error: Exception, where: str, code: str | None) -> SourceUnavailableError:
    cause = getattr(error, "orig", None) or error
    words = (cause.strerror or str(cause)) if isinstance(cause, OSError) else None  # without strerror: of the driver
    reason = words or type(cause).__name__
    return SourceUnavailableError(f"{where}: the database does not answer: {code or reason}")


def _message(error: Exception) -> str:
    """Return the server's own words, without the statement and without the row."""
    cause: BaseException | None = getattr(error, "orig", None) or error
    while cause is not None and not isinstance(cause, asyncpg.PostgresError) and cause.__cause__ is not None:
        cause = cause.__cause__
    words = cause.args[-1] if cause is not None and cause.args else type(error).__name__
    return _cut(str(words))[:300]
