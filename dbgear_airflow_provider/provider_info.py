"""What the provider registers with Airflow."""

from __future__ import annotations

from typing import Any

_STANDARD_FIELDS = ["host", "schema", "login", "password", "port", "extra"]

_TEXT = {"type": ["string", "null"]}


def _field(label: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": schema or _TEXT}


def _file(label: str, example: str) -> dict[str, Any]:
    description = f"Absolute path on every worker, or a URL of object storage: {example}"
    return _field(label, description, {"type": "string", "minLength": 1})


_SOURCE = _field(
    "Section to test with",
    "Section of project.yaml that the Test button reads with: tenant_registry, or a name of sources. Optional.",
)
_CONFIG_DIR = _field(
    "Configuration folder", "Absolute path of a folder with one <tenant_id>.yaml per tenant. Optional."
)
_CSV_FIELDS = {
    "path": _file("CSV file", "s3://a_conn_id@bucket/tenants.csv"),
    "config_dir": _CONFIG_DIR,
    "source": _SOURCE,
}
_EXCEL_FIELDS = {
    "path": _file("Excel file", "s3://a_conn_id@bucket/tenants.xlsx"),
    "sheet": _field("Sheet", "Name of the sheet. Empty: the first, or what project.yaml says."),
    "header_row": _field(
        "Header row",
        "Row of the column names, counted from 1. Empty: 1, or what project.yaml says.",
        {"type": ["integer", "null"], "minimum": 1},
    ),
    "config_dir": _CONFIG_DIR,
    "source": _SOURCE,
}
_PROJECT_FIELDS = {
    "path": _field(
        "tenant.yaml",
        "Absolute path, on every worker, of the tenant.yaml of a DBGear project or of its folder.",
        {"type": "string", "minLength": 1},
    ),
    "source": _SOURCE,
}
_DATABASE_FIELDS = {
    "engine": _field(
        "Engine",
        "mysql is MariaDB as well.",
        {"type": "string", "enum": ["postgresql", "mysql", "sqlite"], "default": "postgresql"},
    ),
    "tenant_table": _field("Table of tenants", "Name, or schema.name. Empty: tenants, or what project.yaml says."),
    "config_table": _field(
        "Table of settings", "Name, or schema.name. Empty: tenant_configs, or what project.yaml says."
    ),
    "sslmode": _field(
        "TLS mode",
        "disable, require, verify-ca or verify-full, as libpq has them. Empty: the driver's default.",
    ),
    "sslrootcert": _field("TLS authority", "Path of the PEM file of the authority that the server is verified by."),
    "sslcert": _field("TLS certificate", "Path of the PEM file of the client's certificate."),
    "sslkey": _field("TLS key", "Path of the PEM file of the client's key."),
    "source": _SOURCE,
}
_API_FIELDS = {
    "auth": _field(
        "Authentication",
        "bearer: the password is the token. api_key: it is the key. oauth2: client credentials.",
        {"type": "string", "enum": ["none", "basic", "bearer", "api_key", "oauth2"], "default": "bearer"},
    ),
    "api_key_header": _field("Header of the key", "For api_key. Empty: X-API-Key."),
    "api_key_param": _field("Parameter of the key", "For api_key, instead of a header: the URL's parameter."),
    "token_url": _field("Token URL", "For oauth2: where tokens are asked for."),
    "scope": _field("Scope", "For oauth2. Optional."),
    "audience": _field("Audience", "For oauth2. Optional."),
    "credentials_in": _field("Credentials in", "For oauth2: header (Basic, the default), or body."),
    "ca_file": _field("TLS authority", "Path of the PEM file of the authority to trust. Empty: the system's."),
    "headers": _field(
        "Further headers",
        'Sent with each request: {"X-Account": "acme"}. Whoever may read connections sees them.',
        {"type": ["string", "null"], "format": "password"},
    ),
    "source": _SOURCE,
}


def _connection_type(
    name: str,
    hook: str,
    title: str,
    fields: dict[str, Any],
    *,
    hidden: list[str] = _STANDARD_FIELDS,
    relabeling: dict[str, str] | None = None,
    placeholders: dict[str, str] | None = None,
) -> dict[str, Any]:
    return {
        "connection-type": f"dbgear_{name}",
        "hook-name": f"DBGear tenant registry ({title})",
        "hook-class-name": f"dbgear_airflow_provider.hooks.registry.{hook}",
        "ui-field-behaviour": {
            "hidden-fields": hidden,
            "relabeling": relabeling or {},
            "placeholders": placeholders or {},
        },
        "conn-fields": fields,
    }


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
                    "dbgear_airflow_provider.operators.alert",
                    "dbgear_airflow_provider.operators.drift",
                    "dbgear_airflow_provider.operators.healthcheck",
                    "dbgear_airflow_provider.operators.list_tenants",
                    "dbgear_airflow_provider.operators.migrate",
                    "dbgear_airflow_provider.operators.plan",
                    "dbgear_airflow_provider.operators.provision",
                    "dbgear_airflow_provider.operators.render",
                    "dbgear_airflow_provider.operators.revoke_access",
                    "dbgear_airflow_provider.operators.rollback",
                    "dbgear_airflow_provider.operators.rollout",
                    "dbgear_airflow_provider.operators.rollout_approval",
                    "dbgear_airflow_provider.operators.rollout_batches",
                    "dbgear_airflow_provider.operators.rollout_gate",
                    "dbgear_airflow_provider.operators.rollout_report",
                    "dbgear_airflow_provider.operators.scale",
                    "dbgear_airflow_provider.operators.summarize",
                    "dbgear_airflow_provider.operators.sync",
                    "dbgear_airflow_provider.operators.synced_tenants",
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
            _connection_type("csv", "CSVRegistryHook", "CSV", _CSV_FIELDS),
            _connection_type("excel", "ExcelRegistryHook", "Excel", _EXCEL_FIELDS),
            _connection_type(
                "database",
                "DatabaseRegistryHook",
                "database",
                _DATABASE_FIELDS,
                hidden=["extra"],
                relabeling={"host": "Host, or path of the SQLite file", "schema": "Database", "login": "User"},
                placeholders={"port": "5432 for PostgreSQL, 3306 for MySQL"},
            ),
            _connection_type(
                "api",
                "APIRegistryHook",
                "API",
                _API_FIELDS,
                hidden=["extra", "schema", "port"],
                relabeling={
                    "host": "Base URL",
                    "login": "User, or id of the client",
                    "password": "Password, token, key or secret of the client",
                },
                placeholders={"host": "https://crm.example/api"},
            ),
            _connection_type("project", "DbgearProjectRegistryHook", "DBGear project", _PROJECT_FIELDS),
        ],
        "notifications": ["dbgear_airflow_provider.notifications.dbgear.DbgearNotifier"],
        "cli": ["dbgear_airflow_provider.cli.definition.get_cli_commands"],
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
