"""Templates: one text for all tenants, rendered to each tenant's environment and schema documents."""

from .engine import TenantTemplateEngine
from .macros import MacroProcessor

__all__ = ["MacroProcessor", "TenantTemplateEngine"]
