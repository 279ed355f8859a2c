"""The rendered documents of a tenant as a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import yaml


def rendered_file(tenant_id: str, documents: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name and the text of the file of a tenant. documents: as `render_tenants` hands them over."""
    # An id is text of the registry's, not a path.
    name = f"{quote(tenant_id, safe='')}.yaml"
    return name, yaml.safe_dump(dict(documents), allow_unicode=True, sort_keys=False)
