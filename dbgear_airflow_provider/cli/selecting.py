"""The tenants that a command is about, on whatever targets they live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.automation import OperationResult
from ..core.errors import RegistryRecordError
from ..core.tenants import TenantInfo
from ..hooks.project import Fleet
from .output import tell, tell_rejected


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The tenants to work on, by tenant_id. clashing: results of those that must not be touched.

    rejected: records of the registry that are no tenants.
    """

    tenants: Sequence[TenantInfo]
    clashing: Sequence[OperationResult]
    rejected: Sequence[RegistryRecordError]

    @property
    def tenant_ids(self) -> list[str]:
        """The ids of those to work on."""
        return [tenant.tenant_id for tenant in self.tenants]


async def choose(fleet: Fleet, query: str, operation: str) -> Chosen:
    """Select the tenants that match, connect to where they live, and tell what is wrong with the list.

    Raises QueryError, and SettingsError where no rule places one of them.
    """
    matching = await fleet.registry.search_tenants(query)
    targets = sorted({fleet.settings.target_of(tenant) for tenant in matching})
    await fleet.connect(targets)
    selections = [await fleet.select(query, target) for target in targets]
    rejected = await fleet.registry.rejected_records()
    tell_rejected(rejected)
    if not matching:
        tell(f"no tenant matches: {query}")
    return Chosen(
        tenants=sorted((item for found in selections for item in found.tenants), key=lambda item: item.tenant_id),
        clashing=[result for found in selections for result in found.clash_results(operation)],
        rejected=rejected,
    )
