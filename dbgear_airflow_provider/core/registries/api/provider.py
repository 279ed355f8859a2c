"""`APITenantProvider`: tenants from a REST or GraphQL API."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Collection, Mapping
from typing import Any

from typing_extensions import override

from ...errors import RegistryRecordError, SettingsError, TenantNotFoundError
from ...settings import ApiRegistrySettings
from ...tenants import TenantInfo, TenantQuery
from ...tenants.predicates import And, Comparison, In, Or, Predicate
from ..cache import RegistryCache
from ..checked import TenantTable, read_table
from ..records import Record
from ..streamed import Found, StreamedTenantProvider
from .auth import ApiAuth, ApiKey, Basic, Bearer, OAuth2ClientCredentials, secrets_of
from .client import ApiClient
from .expressions import Expression
from .items import ItemReader
from .listing import ApiList

__all__ = ["APITenantProvider", "ApiAuth", "ApiKey", "Basic", "Bearer", "OAuth2ClientCredentials"]

# More than these are found sooner in the list.
_MAX_SINGLE_TENANTS = 20


class APITenantProvider(StreamedTenantProvider):
    """Tenants from an API that lists them in JSON. It belongs to one event loop; close it with `aclose`.

    api_base_url: https://host/path, without credentials and parameters. auth_token: sent as Bearer; other credentials
    are `auth`. timeout: seconds for one request, retry_attempts: its tries; None: as options says.
    options: what the API's requests and answers look like, see `ApiRegistrySettings`; None: its defaults. Its base_url
    and auth_token are for those who make a provider from a project file; here the arguments stand alone.
    headers: sent with each request to the API, as secret as credentials.
    verify: True checks the server's certificate against the usual authorities, a path against those in that file or
    folder; False checks nothing.
    cache: where answers are kept; None: in this object, for options.cache_ttl seconds.

    The whole list is read for each question, and queries are evaluated here: APIs have no language in common. Only
    where options.tenant_path is set are single tenants asked for alone. Where it is not, `get_tenant` looks into a list
    that is kept as answers are: asking for each tenant of a fleet reads the list once.
    An item that is no tenant is rejected, and so is one whose tenant_id a good one before it has. What was on an
    earlier page with the same fields is no second one: see `ApiList`.
    """

    def __init__(
        self,
        api_base_url: str,
        auth_token: str | None = None,
        timeout: float | None = None,
        retry_attempts: int | None = None,
        *,
        auth: ApiAuth | None = None,
        options: ApiRegistrySettings | None = None,
        headers: Mapping[str, str] | None = None,
        verify: str | bool = True,
        cache: RegistryCache | None = None,
    ) -> None:
        options = options or ApiRegistrySettings()
        if auth_token is not None and auth is not None:
            raise SettingsError("two kinds of credentials", where="auth_token and auth", allowed="one of them")
        if auth_token is not None:
            auth = Bearer(auth_token)
        self._client = ApiClient(
            api_base_url,
            auth=auth,
            headers=headers,
            verify=verify,
            timeout_s=options.timeout if timeout is None else timeout,
            total_timeout_s=options.total_timeout,
            retry_attempts=options.retry_attempts if retry_attempts is None else retry_attempts,
            retry_wait_s=options.retry_wait,
        )
        self._options = options
        self._reader = ItemReader(options.mapping)
        self._list = ApiList(self._client, options, self._reader)
        self._tenant = Expression(options.tenant, where="api.tenant")
        self._config_of = Expression(options.config, where="api.config")
        self._own_cache = RegistryCache(options.cache_ttl) if cache is None and options.cache_ttl else None
        # Another reading of the same URL, or another user's, has other answers.
        settings = _fingerprint(options, auth, headers or {})
        super().__init__(str(self._list.url), cache or self._own_cache, settings=settings)

    @override
    async def get_tenant(self, tenant_id: str) -> TenantInfo:
        if self._options.tenant_path is not None and _is_in_a_path(tenant_id):
            found = {each.tenant_id: each for each in await self.list_tenants({"tenant_id": tenant_id}, limit=1)}
        else:
            # One reading of the list for all tenants that are asked for one after the other.
            found = (await self._cached("table", self._read, copy=lambda table: table)).tenants
        if tenant_id not in found:
            raise TenantNotFoundError(f"{self.source}: no tenant {tenant_id!r}", tenant_id=tenant_id)
        return found[tenant_id]

    @override
    async def records(self, fields: Collection[str] | None = None) -> AsyncGenerator[Record | RegistryRecordError]:
        for record in await self._list.read(fields):
            yield self._client.clean(record) if isinstance(record, RegistryRecordError) else record

    @override
    async def aclose(self) -> None:
        await self._client.aclose()
        if self._own_cache is not None:
            await self._own_cache.aclose()

    @override
    async def _stream(self, query: TenantQuery) -> AsyncGenerator[Found]:
        ids = _tenant_ids(query.predicate)
        is_short = ids is not None and len(ids) <= _MAX_SINGLE_TENANTS and all(map(_is_in_a_path, ids))
        if ids is not None and self._options.tenant_path is not None and is_short:
            for tenant_id in sorted(ids):
                found = await self._single(self._options.tenant_path, tenant_id)
                if isinstance(found, RegistryRecordError) or (found is not None and query.matches(found)):
                    yield found
            return
        for found in (await self._read()).matching(query):
            yield found

    @override
    async def _config(self, tenant_id: str) -> dict[str, Any]:
        path = self._options.config_path
        if path is None:
            return {}
        if not _is_in_a_path(tenant_id):
            raise RegistryRecordError("tenant_id cannot stand in a path", where=self.source, received=tenant_id)
        url = self._client.url(path, tenant_id=tenant_id)
        answer = await self._client.find(url, deadline=self._client.deadline())
        if answer is None:
            return {}
        try:
            config = self._config_of.of(answer.body, where=answer.where)
            if config is not None and not isinstance(config, dict):
                raise RegistryRecordError("no settings", where=answer.where, received=config, allowed="a JSON object")
        except RegistryRecordError as error:
            raise self._client.clean(error) from None
        return config or {}

    async def _single(self, path: str, tenant_id: str) -> Found | None:
        url = self._client.url(path, tenant_id=tenant_id)
        answer = await self._client.find(url, deadline=self._client.deadline())
        if answer is None:
            return None
        try:
            record = self._reader.record(self._tenant.of(answer.body, where=answer.where), answer.where)
            if isinstance(record, RegistryRecordError):
                return self._client.clean(record)
            tenant = record.tenant()
            # An API that does not tell capitals apart answers to two names with one tenant.
            return tenant if tenant.tenant_id == tenant_id else None
        except RegistryRecordError as error:
            return self._client.clean(error)

    async def _read(self) -> TenantTable:
        records = await self._list.read()
        # A large list takes seconds of work.
        table = await asyncio.to_thread(read_table, records, source=self.source)
        return TenantTable(table.tenants, [self._client.clean(error) for error in table.rejected])


def _tenant_ids(predicate: Predicate) -> frozenset[str] | None:
    """Return the tenants among which all that match are; None: it could be any."""
    match predicate:
        case Comparison(operator="=") if predicate.field.path == ("tenant_id",):
            return frozenset({str(predicate.value)})
        case In() if predicate.field.path == ("tenant_id",):
            return frozenset(map(str, predicate.values))
        case And():
            return next((ids for ids in map(_tenant_ids, predicate.terms) if ids is not None), None)
        case Or():
            parts = [_tenant_ids(term) for term in predicate.terms]
            known = [ids for ids in parts if ids is not None]
            return frozenset().union(*known) if len(known) == len(parts) else None
    return None


def _is_in_a_path(tenant_id: str) -> bool:
    """Tell whether it can stand for a part of a path: servers and clients resolve dots, quoted as they may be."""
    return tenant_id not in ("", ".", "..") and tenant_id.isprintable()


def _fingerprint(options: ApiRegistrySettings, auth: ApiAuth | None, headers: Mapping[str, str]) -> str:
    """Return what tells apart the readings of one URL.

    Two tokens may stand for two accounts with tenants of their own, so they are part of it. It goes into a shared
    cache: scrypt makes it slow to find a weak secret by trying.
    """
    told = options.model_dump(mode="json", exclude={"auth_token"})
    who = [repr(auth), secrets_of(auth), dict(headers)]
    text = json.dumps([told, who], sort_keys=True)
    return hashlib.scrypt(text.encode(), salt=b"dbgear", n=2**13, r=8, p=1, dklen=16).hex()
