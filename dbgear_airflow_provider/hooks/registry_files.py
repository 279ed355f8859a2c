"""Registries in files: CSV, Excel, and the list of a DBGear project."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk.exceptions import AirflowException
from typing_extensions import override

from ..core.errors import SettingsError
from ..core.settings import CsvRegistrySettings, DbgearRegistrySettings, ExcelRegistrySettings
from ..core.settings.section import NonEmpty
from .connection import CheckedConnection, FormExtra
from .registry_hook import RegistryHook, filled

if TYPE_CHECKING:
    from ..core.registries import RegistryCache, TenantRegistryProvider
    from ..core.registries.files.storage import FileLocation


_NO_PATH = Path()  # of the section where the project has none


class DbgearProjectExtra(FormExtra):
    """path: the `tenant.yaml` of a DBGear project."""

    path: NonEmpty | None = None


class CsvExtra(FormExtra):
    """path: of the file, or its URL on object storage. config_dir: folder with the settings of single tenants."""

    path: NonEmpty | None = None
    config_dir: NonEmpty | None = None


class ExcelExtra(CsvExtra):
    """sheet: its name. header_row: its number, counted from 1. The rest as for CSV."""

    sheet: NonEmpty | None = None
    header_row: int | None = None


class CSVRegistryHook(RegistryHook[CsvExtra]):
    """A CSV file of tenants. The connection's extra has `path` and, optionally, `config_dir`."""

    conn_type = "dbgear_csv"
    hook_name = "DBGear tenant registry (CSV)"
    provider = "csv"

    @override
    @classmethod
    def extras(cls) -> dict[str, type[CsvExtra]]:
        return {cls.conn_type: CsvExtra}

    @override
    async def _open(
        self,
        connection: CheckedConnection[CsvExtra],
        section: CsvRegistrySettings | None,
        cache: RegistryCache | None,
    ) -> TenantRegistryProvider:
        return await _opened(connection, section or CsvRegistrySettings(path=_NO_PATH), "/a/tenants.csv")


class ExcelRegistryHook(RegistryHook[ExcelExtra]):
    """A sheet of an Excel workbook. The extra has `path` and, optionally, `sheet`, `header_row`, `config_dir`."""

    conn_type = "dbgear_excel"
    hook_name = "DBGear tenant registry (Excel)"
    provider = "excel"

    @override
    @classmethod
    def extras(cls) -> dict[str, type[ExcelExtra]]:
        return {cls.conn_type: ExcelExtra}

    @override
    async def _open(
        self,
        connection: CheckedConnection[ExcelExtra],
        section: ExcelRegistrySettings | None,
        cache: RegistryCache | None,
    ) -> TenantRegistryProvider:
        section, extra = section or ExcelRegistrySettings(path=_NO_PATH), connection.extra
        section = filled(section, sheet=extra.sheet, header_row=extra.header_row)
        return await _opened(connection, section, "/a/tenants.xlsx")


class DbgearProjectRegistryHook(RegistryHook[DbgearProjectExtra]):
    """The list of tenants of a DBGear project. The extra has `path`, of its tenant.yaml."""

    conn_type = "dbgear_project"
    hook_name = "DBGear tenant registry (DBGear project)"
    provider = "dbgear"
    records_are = "entries"

    @override
    @classmethod
    def extras(cls) -> dict[str, type[DbgearProjectExtra]]:
        return {cls.conn_type: DbgearProjectExtra}

    @override
    async def _open(
        self,
        connection: CheckedConnection[DbgearProjectExtra],
        section: DbgearRegistrySettings | None,
        cache: RegistryCache | None,
    ) -> TenantRegistryProvider:
        section = section or DbgearRegistrySettings(path=_NO_PATH)
        return await _opened(connection, section, "/a/project/production/tenant.yaml")


async def stored_file(path: str | Path, where: str) -> FileLocation:
    """Return a file by its absolute path or URL; Airflow's connections give the credentials of object storage.

    Raises SettingsError where Airflow has no such storage or no such connection.
    """
    text = str(path)
    if "://" not in text:
        if not Path(text).is_absolute():
            # Each process would look for it in a folder of its own.
            raise SettingsError("no absolute path", where=where, received=text, allowed="/a/path, or a URL")
        return Path(text)
    from airflow.sdk import ObjectStoragePath  # noqa: PLC0415 - imports all of fsspec

    try:
        file = ObjectStoragePath(text)
        await asyncio.to_thread(getattr, file, "fs")  # asks Airflow for the connection, and blocks
    except AirflowException as error:
        raise SettingsError(f"its connection: {error}", where=where) from None
    except (ValueError, ImportError) as error:
        raise SettingsError(
            f"Airflow cannot read this storage: {error}",
            where=where,
            received=f"{urlsplit(text).scheme}://",
            allowed="file:// and those of the Airflow providers that are installed: amazon for s3://, google for gs://",
        ) from None
    return file


async def _opened(connection: CheckedConnection[Any], section: Any, example: str) -> TenantRegistryProvider:
    """Return the registry of a section, whose path and folder the connection may say. example: of a path."""
    from ..core.registries.factory import create_file_registry  # noqa: PLC0415 - DAG files need not wait for it

    path = connection.extra.path or section.path
    if path == _NO_PATH:
        raise SettingsError("the extra has no path", where=connection.where, allowed=f'{{"path": "{example}"}}')
    update = {"path": await stored_file(path, f"{connection.where}, path")}
    if folder := getattr(connection.extra, "config_dir", None) or getattr(section, "config_dir", None):
        if not Path(folder).is_absolute():
            raise SettingsError("no absolute path", where=f"{connection.where}, config_dir", received=str(folder))
        update["config_dir"] = Path(folder)
    return create_file_registry(section.model_copy(update=update))
