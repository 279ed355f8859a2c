"""One row per tenant, as django-tenants wants it."""

from __future__ import annotations

from django_tenants.models import DomainMixin, TenantMixin


class Client(TenantMixin):
    """A tenant."""

    auto_create_schema = False


class Domain(DomainMixin):
    """Its address."""
