"""Sessions of others are ended where their roles lost access: what they have open goes on otherwise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from ..engines import Server, Session
from ..errors import OperationTimeoutError, StatementError

SESSIONS_END_S = 10.0
_POLL_S = 0.05


async def end_sessions(session: Session, databases: Sequence[str], where: str, server: Server) -> list[str]:
    """End the sessions of others on databases, also of those who came in just before; return their roles.

    where: what errors call the place. Raises StatementError where we may not,
    OperationTimeoutError where one does not end within SESSIONS_END_S.
    """
    others = await session.other_sessions(databases)
    ended = [other.role for other in others]
    deadline = time.monotonic() + SESSIONS_END_S
    while others:
        await session.end_other_sessions(databases)
        if kept := sorted({other.role for other in others if not other.may_end}):
            raise StatementError(
                f"{where}: access is revoked, but sessions of {', '.join(kept)} go on: "
                f"to end them we need {server.ending_needs}",
                code=server.ending_refused,
                statement="end sessions",
            )
        if time.monotonic() > deadline:
            roles = ", ".join(sorted({other.role for other in others}))
            raise OperationTimeoutError(
                f"{where}: access is revoked, but sessions of {roles} have not ended in {SESSIONS_END_S:g} s",
                timeout_s=SESSIONS_END_S,
            )
        await asyncio.sleep(_POLL_S)
        others = await session.other_sessions(databases)
    return ended
