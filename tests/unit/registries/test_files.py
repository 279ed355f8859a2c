"""Files of tenants on this machine and on object storage, as they are read and kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from dbgear_airflow_provider.core.errors import (
    DbgearError,
    RegistryRecordError,
    SettingsError,
    SourceUnavailableError,
    TenantNotFoundError,
    UnsupportedError,
)
from dbgear_airflow_provider.core.registries import CSVTenantProvider, Record
from dbgear_airflow_provider.core.registries.files.storage import SourceFile

# Of file systems that are not its own, universal_pathlib warns that it has not tested them.
pytestmark = pytest.mark.filterwarnings("ignore:UPath '(bucket|dateless)':UserWarning")

HEADER = "tenant_id,customer_name,customer_code,region,tier,status,created_at,updated_at,isolation_strategy\n"


def rows(*tenant_ids: str) -> bytes:
    cells = "Acme,acme,us,basic,active,2024-01-01,2024-01-01,schema"
    return (HEADER + "".join(f"{tenant_id},{cells}\n" for tenant_id in tenant_ids)).encode()


class BucketFileSystem(MemoryFileSystem):
    """Object storage: files have an ETag, listings are kept, and credentials may be refused."""

    protocol = "bucket"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]
    stale: dict[str, Any] = {}
    failure: Exception | None = None
    reads = 0

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        self.fail()
        if path in self.stale:
            return dict(self.stale[path])
        content = self.store[self._strip_protocol(path)].getvalue()
        return {"name": path, "size": len(content), "type": "file", "ETag": f'"{hash(content)}"'}

    def invalidate_cache(self, path: str | None = None) -> None:
        type(self).stale = {}

    def _open(self, *arguments: Any, **options: Any) -> Any:
        type(self).reads += 1
        self.fail()
        return super()._open(*arguments, **options)

    def fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class DatelessFileSystem(BucketFileSystem):
    """Storage that tells nothing by which a change could be known."""

    protocol = "dateless"

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        return {key: value for key, value in super().info(path, **options).items() if key != "ETag"}


@pytest.fixture
def bucket() -> Iterator[type[BucketFileSystem]]:
    for kind in (BucketFileSystem, DatelessFileSystem):
        fsspec.register_implementation(str(kind.protocol), kind, clobber=True)
        kind.store, kind.stale, kind.failure, kind.reads = {}, {}, None, 0
    yield BucketFileSystem


def put(url: str, content: bytes) -> None:
    UPath(url).write_bytes(content)


async def ids(provider: CSVTenantProvider) -> list[str]:
    return [tenant.tenant_id for tenant in await provider.list_tenants(limit=None)]


@pytest.mark.parametrize("url", ["memory://crm/tenants.csv", "bucket://crm/tenants.csv"])
async def test_files_on_object_storage(bucket: type[BucketFileSystem], url: str) -> None:
    put(url, rows("T1", ""))
    provider = CSVTenantProvider(url)
    assert await ids(provider) == ["T1"]
    assert [error.details["where"] for error in await provider.rejected_records()] == [
        f"{url}, row 3, column tenant_id"
    ]
    put(url, rows("T1", "T2"))
    assert await ids(provider) == ["T1", "T2"]
    assert [record.fields["tenant_id"] async for record in provider.records() if isinstance(record, Record)] == [
        "T1",
        "T2",
    ]


async def test_urls_of_local_files(tmp_path: Path) -> None:
    (tmp_path / "a b.csv").write_bytes(rows("T1"))
    provider = CSVTenantProvider(f"file://{tmp_path}/a b.csv")
    assert await ids(provider) == ["T1"]
    (tmp_path / "a b.csv").write_bytes(rows("T2"))
    assert await ids(provider) == ["T2"]


async def test_path_objects(bucket: type[BucketFileSystem], tmp_path: Path) -> None:
    put("bucket://crm/tenants.csv", rows("T1"))
    assert await ids(CSVTenantProvider(UPath("bucket://crm/tenants.csv"))) == ["T1"]
    (tmp_path / "tenants.csv").write_bytes(rows("T2"))
    assert await ids(CSVTenantProvider(UPath(tmp_path / "tenants.csv"))) == ["T2"]


async def test_paths_of_airflow(tmp_path: Path) -> None:
    from airflow.sdk import ObjectStoragePath

    (tmp_path / "tenants.csv").write_bytes(rows("T1"))
    provider = CSVTenantProvider(ObjectStoragePath(f"file://{tmp_path}/tenants.csv"))
    assert await ids(provider) == ["T1"]
    (tmp_path / "tenants.csv").write_bytes(rows("T1", "T2"))
    assert await ids(provider) == ["T1", "T2"]


async def test_a_file_is_read_once_until_it_changes(bucket: type[BucketFileSystem]) -> None:
    url = "bucket://crm/tenants.csv"
    put(url, rows("T1"))
    provider, once = CSVTenantProvider(url), CSVTenantProvider(url, watch_changes=False)
    bucket.reads = 0
    for _ in range(3):
        assert await ids(provider) == ["T1"]
        assert await provider.get_tenant_count() == 1
        await provider.get_tenant("T1")
    await asyncio.gather(*(ids(provider) for _ in range(10)))
    assert bucket.reads == 1
    assert await ids(once) == ["T1"]
    put(url, rows("T2"))
    assert await ids(provider) == ["T2"]
    assert await ids(once) == ["T1"]


async def test_a_listing_that_fsspec_keeps_hides_no_change(bucket: type[BucketFileSystem]) -> None:
    put("bucket://crm/tenants.csv", rows("T1"))
    provider = CSVTenantProvider("bucket://crm/tenants.csv")
    assert await ids(provider) == ["T1"]
    file = UPath("bucket://crm/tenants.csv")
    bucket.stale = {file.path: file.fs.info(file.path)}
    put("bucket://crm/tenants.csv", rows("T2"))
    assert await ids(provider) == ["T2"]


async def test_storage_that_tells_no_version_is_read_each_time(bucket: type[BucketFileSystem]) -> None:
    put("dateless://crm/tenants.csv", rows("T1"))
    provider = CSVTenantProvider("dateless://crm/tenants.csv")
    assert await ids(provider) == ["T1"]
    put("dateless://crm/tenants.csv", rows("T2"))
    assert await ids(provider) == ["T2"]


async def test_a_tenant_s_settings_cost_no_look_at_the_file(bucket: type[BucketFileSystem], tmp_path: Path) -> None:
    put("bucket://crm/tenants.csv", rows("T1"))
    (tmp_path / "T1.yaml").write_text("locale: ja_JP")
    provider = CSVTenantProvider("bucket://crm/tenants.csv", tmp_path)
    await provider.get_tenant("T1")
    bucket.failure = ConnectionError("down")
    assert await provider.get_tenant_config("T1") == {"locale": "ja_JP"}
    with pytest.raises(SourceUnavailableError):
        await provider.get_tenant_config("T2")
    bucket.failure = None
    with pytest.raises(TenantNotFoundError):
        await provider.get_tenant_config("T2")


@pytest.mark.parametrize(
    ("failure", "problem"),
    [
        (FileNotFoundError("bucket://crm/tenants.csv?sig=s3cr3t"), "no such file"),
        (PermissionError("key s3cr3t"), "access denied"),
        (ConnectionError("https://me:s3cr3t@host"), "cannot be read: ConnectionError"),
        (TimeoutError(), "cannot be read: TimeoutError"),
        (OSError(113, "No route to https://host/?sig=s3cr3t"), "No route to host"),
        (RuntimeError("s3cr3t"), "cannot be read: RuntimeError"),
    ],
)
async def test_failures_of_storage_are_told_without_secrets(
    bucket: type[BucketFileSystem], failure: Exception, problem: str
) -> None:
    put("bucket://crm/tenants.csv", rows("T1"))
    provider = CSVTenantProvider("bucket://me:s3cr3t@crm/tenants.csv?sig=s3cr3t")
    bucket.failure = failure
    with pytest.raises(SourceUnavailableError) as caught:
        await provider.list_tenants()
    assert str(caught.value) == f"bucket://crm/tenants.csv: {problem}"
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("s3://bucket/me@acme.csv", "s3://bucket/me@acme.csv"),
        ("s3://airflow_conn@bucket/a.csv", "s3://bucket/a.csv"),
        ("s3://AKIA:se/c+r@t@bucket/a.csv", "s3://bucket/a.csv"),
        ("https://host/a.csv?X-Amz-Signature=s3cr3t#x", "https://host/a.csv"),
        ("simplecache::s3://key:s3cr3t@bucket/a.csv", "simplecache::s3://bucket/a.csv"),
        ("/a/b?c@d.csv", "/a/b?c@d.csv"),
    ],
)
def test_names_hold_no_secrets(location: str, name: str) -> None:
    assert SourceFile(location, 1).name == name


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        ("s3://u:s3cr3t@bucket/a.csv", UnsupportedError, "s3://bucket/a.csv: Install s3fs to access S3"),
        ("nonsense://u:s3cr3t@x/a.csv", SettingsError, "nonsense://x/a.csv: no such kind of URL; allowed: a path, or"),
    ],
)
async def test_urls_that_cannot_be_read_here(url: str, kind: type[DbgearError], message: str) -> None:
    with pytest.raises(kind) as caught:
        await CSVTenantProvider(url).list_tenants()
    assert str(caught.value).startswith(message)


async def test_files_that_are_too_large(tmp_path: Path) -> None:
    path = tmp_path / "tenants.csv"
    with path.open("wb") as file:
        file.truncate(2**29)  # takes no room on the disk
    with pytest.raises(RegistryRecordError, match="too large; received '536870912 bytes'; allowed: 268435456 bytes"):
        await CSVTenantProvider(path).list_tenants()


async def test_pipes_and_folders(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(RegistryRecordError, match=r"pipe\.csv: no regular file"):
        await CSVTenantProvider(tmp_path / "pipe.csv").list_tenants()
    with pytest.raises(SourceUnavailableError, match="Is a directory"):
        await CSVTenantProvider(tmp_path).list_tenants()
