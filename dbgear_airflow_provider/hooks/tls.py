"""What the extra of a connection to a database may hold: TLS above all, in the words of libpq and of the drivers."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import field_validator

from ..core.errors import SettingsError
from ..core.settings.section import NonEmpty, Section
from .connection import Extra, json_object

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
_MODES: Mapping[str, SslMode] = {
    "DISABLED": "disable",
    "REQUIRED": "require",
    "VERIFY_CA": "verify-ca",
    "VERIFY_IDENTITY": "verify-full",
}

# asyncmy knows neither "TLS if the server has it" nor its opposite.
_MYSQL_MODES: tuple[SslMode, ...] = ("disable", "require", "verify-ca", "verify-full")
# Of what use each file is.
_MYSQL_FILES = {"sslrootcert": _MYSQL_MODES[2:], "sslcert": _MYSQL_MODES[1:], "sslkey": _MYSQL_MODES[1:]}


class TlsExtra(Extra):
    """As in https://www.postgresql.org/docs/current/libpq-ssl.html; paths are those of PEM files."""

    sslmode: SslMode | None = None
    sslrootcert: NonEmpty | None = None
    sslcert: NonEmpty | None = None
    sslkey: NonEmpty | None = None

    def libpq(self) -> dict[str, str]:
        """Return what is given."""
        values = {name: getattr(self, name) for name in TlsExtra.model_fields}
        return {name: value for name, value in values.items() if value is not None}


class PostgresExtra(TlsExtra):
    """What an ordinary connection to PostgreSQL may have."""

    application_name: NonEmpty | None = None

    def options(self) -> dict[str, str]:
        """Return what is given, as a target's server takes it."""
        return self.libpq() | ({"application_name": self.application_name} if self.application_name else {})


class _MysqlFiles(Section):
    ca: NonEmpty | None = None
    cert: NonEmpty | None = None
    key: NonEmpty | None = None


class MysqlExtra(Extra):
    """What an ordinary connection to MySQL may have. We always talk utf8mb4, of which utf8 is a part."""

    charset: Literal["utf8", "utf8mb4"] = "utf8mb4"
    ssl: _MysqlFiles = _MysqlFiles()
    ssl_mode: Literal["DISABLED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"] | None = None

    _ssl_may_be_text = field_validator("ssl", mode="before")(json_object)

    def tls(self) -> TlsExtra:
        """Return the same in libpq's words."""
        # MySQL's own client verifies by a CA that it is given.
        mode = _MODES[self.ssl_mode] if self.ssl_mode else "verify-ca" if self.ssl.ca else None
        return TlsExtra(sslmode=mode, sslrootcert=self.ssl.ca, sslcert=self.ssl.cert, sslkey=self.ssl.key)


def postgres_arguments(tls: TlsExtra, application_name: str | None) -> dict[str, Any]:
    """Return the arguments of asyncpg."""
    from ..core.engines.postgresql import asyncpg_arguments  # noqa: PLC0415 - imports SQLAlchemy and the driver

    return asyncpg_arguments(tls.libpq() | ({"application_name": application_name} if application_name else {}))


def mysql_arguments(tls: TlsExtra, where: str) -> dict[str, Any]:
    """Return the arguments of asyncmy. Raises SettingsError."""
    files = tls.libpq()
    mode = files.pop("sslmode", "disable")
    if mode not in _MYSQL_MODES:
        raise SettingsError("no such mode on MySQL", where=f"{where}, sslmode", received=mode, allowed=_MYSQL_MODES)
    for name in files:
        if mode not in _MYSQL_FILES[name]:
            raise SettingsError(
                "of no use with this sslmode", where=f"{where}, {name}", received=mode, allowed=_MYSQL_FILES[name]
            )
    return {} if mode == "disable" else {"ssl": _context(tls, mode, where)}


def _context(tls: TlsExtra, mode: str, where: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.sslrootcert)
        context.check_hostname = mode == "verify-full"
        context.verify_mode = ssl.CERT_REQUIRED if mode.startswith("verify") else ssl.CERT_NONE
        if tls.sslcert:
            context.load_cert_chain(tls.sslcert, tls.sslkey)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"the certificates cannot be read: {error.strerror or error}",
            where=f"{where}, extra",
            received=", ".join(filter(None, (tls.sslrootcert, tls.sslcert, tls.sslkey))),
        ) from None
    return context
