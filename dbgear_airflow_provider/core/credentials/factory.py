"""Sinks as the project file names them, those that need no Airflow."""

from __future__ import annotations

from importlib import import_module

from ..errors import SettingsError
from ..settings import SinkSettings
from .base import CredentialSink
from .file import FileSink

_WHERE = "multi_tenant.access.sink"


def make_sink(settings: SinkSettings) -> CredentialSink:
    """Return the sink of type `file` or `python`; the others are at the end of an Airflow connection.

    Raises SettingsError.
    """
    if settings.type == "file" and settings.path is not None:
        return FileSink(settings.path)
    if settings.type == "python" and settings.class_ is not None:
        return _python(settings.class_, settings)
    raise SettingsError("needs Airflow", where=f"{_WHERE}.type", received=settings.type, allowed="file, python")


def _python(name: str, settings: SinkSettings) -> CredentialSink:
    module, _, attribute = name.partition(":")
    try:
        made: CredentialSink = getattr(import_module(module), attribute)(**settings.options)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"cannot be imported: {error}", where=f"{_WHERE}.class", received=name) from error
    except TypeError as error:
        raise SettingsError(f"does not take these options: {error}", where=f"{_WHERE}.options") from error
    if not callable(getattr(made, "put", None)):
        raise SettingsError("no sink", where=f"{_WHERE}.class", received=name, allowed="async def put(credential)")
    return made
