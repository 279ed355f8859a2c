"""The ten tables. Never executed: they are there, and the ledger says so."""

from __future__ import annotations

from django.db import migrations

from ..tables import NAMES, fields


class Migration(migrations.Migration):
    """Create them."""

    operations = [
        migrations.CreateModel(name=name, fields=list(fields().items()), options={"db_table": name}) for name in NAMES
    ]
