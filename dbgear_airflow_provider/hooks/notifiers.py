"""Notifiers of Airflow, as the project file names them."""

from __future__ import annotations

import asyncio
import logging
import pkgutil
from collections.abc import Mapping
from typing import Any, cast

from airflow.sdk import BaseNotifier, Context

from ..core.alerts import AlertMessage
from ..core.errors import NotificationError, SettingsError
from ..core.settings import NotifierSettings

log = logging.getLogger(__name__)


def make_notifier(name: str, settings: NotifierSettings) -> BaseNotifier:
    """Return a new notifier: what it renders, it renders once. Raises SettingsError."""
    where = f"multi_tenant.alerts.notifiers.{name}"
    try:
        kind = pkgutil.resolve_name(settings.class_)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"cannot be imported: {error}", where=f"{where}.class", received=settings.class_) from error
    if not (isinstance(kind, type) and issubclass(kind, BaseNotifier)):
        allowed = "a subclass of airflow.sdk.BaseNotifier"
        raise SettingsError("no notifier", where=f"{where}.class", received=settings.class_, allowed=allowed)
    try:
        return kind(**settings.arguments)
    except TypeError as error:
        raise SettingsError(f"does not take these arguments: {error}", where=f"{where}.arguments") from error


async def send_to_all(
    notifiers: Mapping[str, NotifierSettings],
    message: AlertMessage,
    context: Context | None = None,
    *,
    raises: bool = True,
) -> dict[str, Exception]:
    """Send a message to all notifiers at once; return {name: error} of those that failed.

    raises: NotificationError, once all were tried. context: as of `send`.
    """

    async def one(name: str, settings: NotifierSettings) -> None:
        try:
            await send(make_notifier(name, settings), message, context)
        except Exception as error:  # noqa: BLE001 - of any library: it must not keep the others from being told
            log.warning("notifier %s: %s: %s", name, type(error).__name__, error)
            failed[name] = error

    failed: dict[str, Exception] = {}
    await asyncio.gather(*(one(name, settings) for name, settings in notifiers.items()))
    if failed and raises:
        raise NotificationError("; ".join(f"{name}: {error}" for name, error in failed.items()))
    return failed


async def send(notifier: BaseNotifier, message: AlertMessage, context: Context | None = None) -> None:
    """Let a notifier send a message, which its templates know as `dbgear`. Raises whatever it raises.

    context: of a task; None: there is none, as in the triggerer.
    """
    given = cast("Context", {**(context or {}), "dbgear": message.variables()})
    if type(notifier).async_notify is not BaseNotifier.async_notify:
        notifier.context = given
        await notifier
    else:
        await asyncio.to_thread(_call, notifier, given)


def _call(notifier: Any, context: Context) -> None:
    notifier(context)
