"""The migration that is measured: a column and an index."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """Add them."""

    dependencies = [("shop", "0001_initial")]
    operations = [
        migrations.AddField("table_0", "note", models.CharField(max_length=100, null=True)),
        migrations.AddIndex("table_0", models.Index(fields=["note"], name="table_0_idx_note")),
    ]
