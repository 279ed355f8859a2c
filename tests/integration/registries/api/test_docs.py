"""docs/registry-api.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from dbgear_airflow_provider.core.settings import ApiRegistrySettings, GraphqlSettings
from tests.integration.registries.api.conftest import Open, item
from tests.integration.registries.api.test_questions import crm_item
from tests.servers.http import Api

PAGE = (Path(__file__).parents[4] / "docs" / "registry-api.md").read_text(encoding="utf-8")
REST, GRAPHQL = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))


def keys(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    return {prefix + name: field for name, field in model.model_fields.items()}


def test_every_key_and_its_default_is_told() -> None:
    table = PAGE.partition("## Keys")[2].partition("## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \|([^|]*)\|", table, re.MULTILINE)
    told = {name: default.strip().strip("`") for name, default in rows}
    fields = {**keys(ApiRegistrySettings), **keys(GraphqlSettings, "graphql.")}
    assert list(told) == list(fields)
    for name, field in fields.items():
        plain = isinstance(field.default, str | int | float)
        default = field.default if isinstance(field.default, str) else json.dumps(field.default) if plain else ""
        assert told[name] == ("required" if field.is_required() else default), name


async def test_the_rest_example(api: Api, provider: Open) -> None:
    crm = [crm_item(number) for number in range(3)]

    def answer(request: Any) -> Any:
        parts = request.path.split("/")[3:]
        if parts and parts[-1] == "settings":
            return {"theme": "dark"}
        if parts:
            return {"data": crm[int(parts[0])]}
        return {"data": crm if request.params["offset"] == "0" else [], "meta": {"total": 3}}

    api.answer = answer
    registry = provider(**REST)
    assert await registry.get_tenant_count({"tier": "premium", "status": "active"}) == 3
    assert api.requests[0].params == {"type": "tenant", "limit": "200", "offset": "0"}
    assert (await registry.get_tenant("2")).billing_info == {"plan": "Gold", "seats": 5}
    assert await registry.get_tenant_config("2") == {"theme": "dark"}


async def test_the_graphql_example(api: Api, provider: Open) -> None:
    page = {"endCursor": "a", "hasNextPage": False}
    api.replies({"data": {"tenants": {"nodes": [item(1)], "pageInfo": page, "totalCount": 1}}})
    assert await provider(**GRAPHQL).get_tenant_count() == 1
    assert api.requests[0].json["variables"] == {"region": "japan", "limit": 50}


@pytest.mark.parametrize("name", ["Bearer", "Basic", "ApiKey", "OAuth2ClientCredentials"])
def test_the_credentials_are_told(name: str) -> None:
    assert f"`{name}(" in PAGE
