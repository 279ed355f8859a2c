"""Where tenants come from: the sections `tenant_registry`, `sources`, `cache` and `sync`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from .mapping import FieldMapping, FieldName
from .section import Location, NonEmpty, Section

ProviderKind = Literal["csv", "excel", "database", "api", "dbgear"]


class CsvRegistrySettings(Section):
    """A CSV file of tenants. Paths are absolute once loaded, unless they are URLs of object storage."""

    path: Location
    config_dir: Path | None = None
    watch_changes: bool = True
    mapping: FieldMapping = FieldMapping()


class ExcelRegistrySettings(Section):
    """A sheet of an Excel workbook (.xlsx). sheet: None means the first; header_row counts from 1."""

    path: Location
    sheet: NonEmpty | None = None
    header_row: Annotated[int, Field(ge=1)] = 1
    config_dir: Path | None = None
    watch_changes: bool = True
    mapping: FieldMapping = FieldMapping()


class DatabaseRegistrySettings(Section):
    """A table of tenants.

    url: SQLAlchemy's, without Airflow only; with it the connection says where. tenant_table and config_table may
    name a schema: `crm.customers`. config_table None: tenants have no settings of their own. create_tables: make the
    tables that are missing when the registry is written. cache_ttl: seconds that answers are kept; 0 keeps none.
    """

    url: SecretStr | None = None
    tenant_table: NonEmpty = "tenants"
    config_table: NonEmpty | None = "tenant_configs"
    create_tables: bool = True
    cache_ttl: Annotated[float, Field(ge=0)] = 300
    mapping: FieldMapping = FieldMapping()


class GraphqlSettings(Section):
    """A GraphQL query that lists tenants.

    path: of the endpoint, under the base; "": the base itself. query gets `variables`, and in those named by
    cursor_variable and limit_variable, where it has them, the page's cursor and size. cursor and has_more are JMESPath
    expressions on the answer; without has_more, a page without cursor is the last; without cursor there is one page.
    """

    path: str = "/graphql"
    query: NonEmpty
    variables: dict[str, Any] = {}
    cursor_variable: NonEmpty = "cursor"
    limit_variable: NonEmpty | None = "limit"
    cursor: NonEmpty | None = None
    has_more: NonEmpty | None = None


class ApiRegistrySettings(Section):
    """A REST or GraphQL API.

    base_url and auth_token: without Airflow only; with it the connection says both. path: of the list, under the
    base. items: JMESPath to the list in an answer ("@": the answer is the list). total: JMESPath to the number of
    all, None: not told. paging: `offset` sends offset_param and limit_param; `cursor` sends limit_param and, from the
    second page on, cursor_param with what the JMESPath `cursor` found; `link` follows the header Link, rel="next";
    `none`: one page. limit_param None: the server chooses the size of a page. params: sent with each request for the
    list, and seen in logs: no place for secrets. tenant_path: of one tenant, with {tenant_id}; None: it is looked for
    in the list. tenant: JMESPath to it in that answer. config_path: of a tenant's settings, with {tenant_id}; None:
    there are none. config: JMESPath to them. timeout: seconds for one request; total_timeout: for a whole list,
    retries included. retry_attempts: tries of one request. retry_wait: seconds before the second try, twice that
    before the third, and so on, unless the server says how long. cache_ttl: seconds that answers are kept; 0 keeps
    none.
    """

    base_url: NonEmpty | None = None
    auth_token: SecretStr | None = None
    path: str = "/tenants"
    items: NonEmpty = "items"
    total: NonEmpty | None = None
    paging: Literal["offset", "cursor", "link", "none"] = "offset"
    page_size: Annotated[int, Field(ge=1, le=10_000)] = 100
    offset_param: NonEmpty = "offset"
    limit_param: NonEmpty | None = "limit"
    cursor_param: NonEmpty = "cursor"
    cursor: NonEmpty = "next_cursor"
    params: dict[str, str] = {}
    tenant_path: NonEmpty | None = None
    tenant: NonEmpty = "@"
    config_path: NonEmpty | None = None
    config: NonEmpty = "@"
    graphql: GraphqlSettings | None = None
    timeout: Annotated[float, Field(gt=0)] = 30
    total_timeout: Annotated[float, Field(gt=0)] = 600
    retry_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    retry_wait: Annotated[float, Field(ge=0, le=60)] = 0.5
    cache_ttl: Annotated[float, Field(ge=0)] = 300
    mapping: FieldMapping = FieldMapping()

    @field_validator("tenant_path", "config_path")
    @classmethod
    def _is_of_one_tenant(cls, value: str | None) -> str | None:
        if value is not None and "{tenant_id}" not in value:
            raise ValueError("the path has no {tenant_id}")
        return value


class DbgearRegistrySettings(Section):
    """A DBGear project's own list: the `tenant.yaml` of an environment folder.

    It holds names, databases and nothing else of a tenant: mapping.defaults says the rest.
    """

    path: Path
    mapping: FieldMapping = FieldMapping()


class RegistryConfig(Section):
    """The settings of each kind of registry; the one that `provider` names is used."""

    csv: CsvRegistrySettings | None = None
    excel: ExcelRegistrySettings | None = None
    database: DatabaseRegistrySettings | None = None
    api: ApiRegistrySettings | None = None
    dbgear: DbgearRegistrySettings | None = None


class RegistrySettings(Section):
    """Where a list of tenants comes from: an Airflow connection, the section of `config` that provider names, or both.

    Both: the connection says where and who, the section how. Without Airflow there are no connections: the core on
    its own needs the section.
    """

    provider: ProviderKind = "csv"
    connection_id: NonEmpty | None = None
    config: RegistryConfig = RegistryConfig()

    @model_validator(mode="after")
    def _has_a_source(self) -> RegistrySettings:
        if self.connection_id is None and getattr(self.config, self.provider) is None:
            raise ValueError(f"neither connection_id nor config.{self.provider} is given")
        return self


class SourceSettings(RegistrySettings):
    """A source that the registry is synchronized from.

    fields: those that it knows: what it leaves empty is empty. None: those for which at least one of its records has
    a value. configs: its settings of single tenants are copied as well.
    """

    fields: list[FieldName] | None = None
    configs: bool = False

    def may_know(self, field: str) -> bool:
        """Tell whether the source may have a value for a field of a tenant."""
        return self.fields is None or field in self.fields


class CacheSettings(Section):
    """Where answers of registries are kept between questions.

    max_entries: answers in the memory of one process. redis_url or redis_connection_id: a Redis that all workers
    share; neither: memory only.
    """

    max_entries: Annotated[int, Field(ge=1)] = 1000
    redis_url: SecretStr | None = None
    redis_connection_id: NonEmpty | None = None


class SyncSettings(Section):
    """How sources become the registry.

    sources: their names, the first one before the others where several know a field; None: all, in the order of
    `sources`. precedence: {field: names}: these first for single fields, the others after them as ever.
    max_change_percent: a sync that would terminate more of the registry's tenants than this stops.
    dry_run, provision_new, revoke_suspended: what the DAG `tenant_sync` does unless told otherwise, so every night.
    """

    sources: Annotated[list[str], Field(min_length=1)] | None = None
    precedence: dict[FieldName, list[str]] = {}
    max_change_percent: Annotated[float, Field(ge=0, le=100)] = 20
    dry_run: bool = True
    provision_new: bool = False
    revoke_suspended: bool = False

    @field_validator("sources")
    @classmethod
    def _each_once(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError("each source may be named once")
        return value
