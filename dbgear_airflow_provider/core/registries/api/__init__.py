"""Tenants from a REST or GraphQL API."""

from .auth import ApiAuth, ApiKey, Basic, Bearer, OAuth2ClientCredentials
from .provider import APITenantProvider

__all__ = ["APITenantProvider", "ApiAuth", "ApiKey", "Basic", "Bearer", "OAuth2ClientCredentials"]
