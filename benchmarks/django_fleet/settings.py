"""Settings: the server is in the environment, as the variables of libpq."""

from __future__ import annotations

import os

SECRET_KEY = "of a benchmark"  # noqa: S105 - nobody logs in
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django_tenants.postgresql_backend",
        "NAME": os.environ["PGDATABASE"],
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"],
        "USER": os.environ["PGUSER"],
        "PASSWORD": os.environ["PGPASSWORD"],
    }
}
DATABASE_ROUTERS = ("django_tenants.routers.TenantSyncRouter",)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SHARED_APPS = ("django_tenants", "django.contrib.contenttypes", "benchmarks.django_fleet.customers")
TENANT_APPS = ("benchmarks.django_fleet.shop",)
INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
TENANT_MODEL = "customers.Client"
TENANT_DOMAIN_MODEL = "customers.Domain"
TENANT_MULTIPROCESSING_MAX_PROCESSES = 4
