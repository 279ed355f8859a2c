"""How certificates of servers are checked, and what is said of one that is not trusted."""

from __future__ import annotations

import ssl
from pathlib import Path

from .errors import SettingsError


def ssl_context(verify: str | bool, *, where: str = "verify") -> ssl.SSLContext | bool:
    """Return how certificates are checked: against the usual authorities, those of a file or folder, or not at all.

    Raises SettingsError that names `where`.
    """
    if isinstance(verify, bool):
        return verify
    path = Path(verify)
    try:
        if path.is_dir():
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"no certificates of authorities: {reason}", where=where, received=verify, allowed="a file in PEM form"
        ) from None


def untrusted(error: BaseException, *, where: str, key: str) -> SettingsError | None:
    """Return the error of a certificate that is not trusted, where that is behind an HTTP client's own; else None.

    key: what is set to trust it.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return SettingsError(
                f"the server's certificate is not trusted: {cause.verify_message}",
                where=where,
                allowed=f"{key}: a file with the certificate of the authority that signed it",
            )
        cause = cause.__cause__ or cause.__context__
    return None
