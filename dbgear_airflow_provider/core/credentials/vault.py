"""`VaultSink`: the key-value store of HashiCorp Vault, version 2 (https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from .base import Credential
from .http import SinkClient


class VaultSink:
    """Each tenant's credential is the secret `<folder>/<tenant_id>`; an earlier one stays there as a version.

    token: of a policy with `create` and `update` on `<mount>/data/<folder>/*`. namespace: of Vault Enterprise.
    Raises SettingsError where one of the two is no header.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        mount: str = "secret",
        folder: str = "dbgear",
        namespace: str | None = None,
        **options: Any,
    ) -> None:
        headers = {"X-Vault-Token": token, **({"X-Vault-Namespace": namespace} if namespace else {})}
        self._client = SinkClient(base_url, "Vault", headers=headers, **options)
        self._path = f"/v1/{quote(mount.strip('/'))}/data/{quote(folder.strip('/'))}"

    async def put(self, credential: Credential) -> None:
        """Write a new version of the tenant's secret. Raises CredentialError, SettingsError, SinkUnavailableError."""
        path = f"{self._path}/{_segment(credential.tenant_id)}"
        await self._client.request("POST", path, json={"data": credential.document()})

    async def aclose(self) -> None:
        """Close the connections. Safe to repeat."""
        await self._client.aclose()


def _segment(tenant_id: str) -> str:
    # "." and ".." would be folders of the URL.
    return quote(tenant_id, safe="").replace(".", "%2E") if set(tenant_id) == {"."} else quote(tenant_id, safe="")
