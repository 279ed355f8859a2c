"""What the provider registers with Airflow."""

from __future__ import annotations

from typing import Any

_ONLY_ITS_OWN_FIELDS = ["host", "schema", "login", "password", "port", "extra"]


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, in the form of Airflow's provider_info.schema.json."""
    return {
        "package-name": "airflow-provider-dbgear",
        "name": "DBGear",
        "description": "Runs a fleet of tenant databases from one tenant list.",
        "integrations": [
            {
                "integration-name": "DBGear",
                "external-doc-url": "https://github.com/tamuto/dbgear",
                "tags": ["software"],
            }
        ],
        "operators": [
            {
                "integration-name": "DBGear",
                "python-modules": [
                    "dbgear_airflow_provider.operators.list_tenants",
                    "dbgear_airflow_provider.operators.provision",
                    "dbgear_airflow_provider.operators.render",
                    "dbgear_airflow_provider.operators.summarize",
                ],
            }
        ],
        "hooks": [
            {
                "integration-name": "DBGear",
                "python-modules": [
                    "dbgear_airflow_provider.hooks.fleet",
                    "dbgear_airflow_provider.hooks.registry",
                    "dbgear_airflow_provider.hooks.target",
                ],
            }
        ],
        "connection-types": [
            {
                "connection-type": "dbgear_csv",
                "hook-name": "DBGear tenant registry (CSV)",
                "hook-class-name": "dbgear_airflow_provider.hooks.registry.CSVRegistryHook",
                "ui-field-behaviour": {"hidden-fields": _ONLY_ITS_OWN_FIELDS},
                "conn-fields": {
                    "path": {
                        "label": "CSV file",
                        "description": "Path of the tenant list, on every worker.",
                        "schema": {"type": "string", "minLength": 1},
                    },
                    "config_dir": {
                        "label": "Configuration folder",
                        "description": "Folder with one <tenant_id>.yaml per tenant. Optional.",
                        "schema": {"type": ["string", "null"]},
                    },
                },
            },
        ],
        "plugins": [{"name": "dbgear", "plugin-class": "dbgear_airflow_provider.plugins.plugin.DbgearPlugin"}],
        "config": {
            "dbgear": {
                "description": "Settings of the DBGear provider.",
                "options": {
                    "project_file": {
                        "description": "Path of project.yaml. Empty: include/project.yaml in AIRFLOW_HOME.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "/opt/airflow/include/project.yaml",
                        "default": "",
                    },
                    "report_dir": {
                        "description": (
                            "Where run reports go: a folder's URL, local or on object storage. "
                            "Empty: dbgear_reports in AIRFLOW_HOME."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "s3://conn_id@bucket/dbgear/reports",
                        "default": "",
                    },
                },
            }
        },
    }
