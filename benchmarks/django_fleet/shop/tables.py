"""The tables before the migration."""

from __future__ import annotations

from typing import Any

from django.db import models

NAMES = [f"table_{number}" for number in range(10)]


def fields() -> dict[str, Any]:
    """Return the columns of each."""
    return {
        "id": models.BigAutoField(primary_key=True),
        "tenant_id": models.CharField(max_length=50),
        "name": models.CharField(max_length=255),
        "amount": models.DecimalField(max_digits=12, decimal_places=2, null=True),
        "active": models.SmallIntegerField(default=1),
        "created_at": models.DateTimeField(auto_now_add=True),
    }
