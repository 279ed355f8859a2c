"""Connections are lent to operations: so many of a server at once, and taken back from who does not give them back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

log = logging.getLogger(__name__)


class Borrower:
    """One operation on one tenant, with the connections that it has now. leaked: {server: how many it had kept}."""

    def __init__(self, tenant_id: str, operation: str) -> None:
        self.tenant_id = tenant_id
        self.operation = operation
        self.loans: set[Loan] = set()
        self.leaked: dict[str, int] = {}

    def take_back(self) -> None:
        """Close all that it has: whoever waits for a server that is frozen does not wait any longer."""
        for loan in tuple(self.loans):
            loan.take_back()

    def _end(self) -> None:
        for loan in self.loans:
            self.leaked[loan.lender.server] = self.leaked.get(loan.lender.server, 0) + 1
        self.take_back()
        for server, count in self.leaked.items():
            text = "tenant %s: %s has ended and had kept %d connections to target %s; they are closed"
            log.error(text, self.tenant_id, self.operation, count, server)


_borrower: ContextVar[Borrower | None] = ContextVar("borrower", default=None)


@contextmanager
def borrowing(tenant_id: str, operation: str) -> Iterator[Borrower]:
    """Take back, at the end, the connections that were lent in the block and in tasks that it has begun."""
    borrower = Borrower(tenant_id, operation)
    token = _borrower.set(borrower)
    try:
        yield borrower
    finally:
        _borrower.reset(token)
        borrower._end()


class Loan:
    """One connection in use. close: closes it at once, without a word to the server; None: it is not open yet."""

    def __init__(self, lender: Lender, borrower: Borrower | None) -> None:
        self.lender = lender
        self.close: Callable[[], None] | None = None
        self._borrower = borrower
        self._is_open = True
        if borrower is not None:
            borrower.loans.add(self)

    def take_back(self) -> None:
        """Close the connection, and lend another one in its place."""
        try:
            if self.close is not None:
                self.close()
        finally:
            self.end()

    def end(self) -> None:
        """Let another one be lent. Safe to repeat."""
        if self._is_open:
            self._is_open = False
            if self._borrower is not None:
                self._borrower.loans.discard(self)
            self.lender._returned()


class Lender:
    """The connections of one server. most: at once. used: now; used_at_most: the most that ever were in use at once."""

    def __init__(self, server: str, most: int) -> None:
        self.server = server
        self.most = most
        self.used = self.used_at_most = 0
        self._slots = asyncio.Semaphore(most)

    @asynccontextmanager
    async def loan(self) -> AsyncIterator[Loan]:
        """Wait while all are lent, and lend one for as long as the block runs."""
        await self._slots.acquire()
        self.used += 1
        self.used_at_most = max(self.used, self.used_at_most)
        loan = Loan(self, _borrower.get())
        try:
            yield loan
        finally:
            loan.end()

    def _returned(self) -> None:
        self.used -= 1
        self._slots.release()
