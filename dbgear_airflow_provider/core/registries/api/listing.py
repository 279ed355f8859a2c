"""Reading the whole list of an API, page by page, and telling whether it was one list from end to end."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from ...errors import RegistryRecordError, SourceUnavailableError
from ...settings import ApiRegistrySettings
from ..records import Record
from .client import Answer, ApiClient
from .expressions import Expression
from .graphql import check_of, texts_of
from .items import ItemReader
from .paging import Ask, Page, paging_of

logger = logging.getLogger(__name__)

READ_ATTEMPTS = 3
MAX_EMPTY_PAGES = 20


Item = Record | RegistryRecordError


class _InconsistentError(Exception):
    """The pages are not of one list. is_changing: it may be, when it is read again."""

    def __init__(self, problem: str, where: str, *, is_changing: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.is_changing = is_changing


class ApiList:
    """The list of one API, read anew by each `read`.

    Tenants that come or go while pages are read shift the others: one may be on two pages, or on none. What is
    repeated on a later page with the same fields is taken once. Where the API tells its total, that total must be
    the same on all pages and as many different items must have been read; otherwise, and where a page or cursor is
    one that was there before, the list is read again, READ_ATTEMPTS times at the most.
    """

    def __init__(self, client: ApiClient, options: ApiRegistrySettings, reader: ItemReader) -> None:
        self._client = client
        self._reader = reader
        self.url = client.url(options.path if options.graphql is None else options.graphql.path)
        self._paging = paging_of(client, options)
        self._items = Expression(options.items, where="api.items")
        self._total = None if options.total is None else Expression(options.total, where="api.total")
        self._hidden = () if options.graphql is None else tuple(texts_of(options.graphql.variables))
        self._check = None if options.graphql is None else check_of(options.graphql, client.redact)

    async def read(self, fields: Collection[str] | None = None) -> list[Item]:
        """Return all items as records or errors, in the order of the API. fields: those asked for; None: all.

        Raises SourceUnavailableError where the list is another one whenever it is read, RegistryRecordError where the
        API's answers are no list, and what `ApiClient.ask` raises.
        """
        deadline = self._client.deadline()
        number = 1
        while True:
            try:
                return await self._read_once(deadline, fields)
            except _InconsistentError as error:
                if number < READ_ATTEMPTS:
                    logger.warning("%s: %s; the list is read again", error.where, error.problem)
                    number += 1
                elif error.is_changing:
                    raise SourceUnavailableError(
                        f"{error.where}: changed while it was read, {number} times: {error.problem}", where=error.where
                    ) from None
                else:
                    raise RegistryRecordError(error.problem, where=error.where) from None
            except RegistryRecordError as error:
                raise self._client.clean(error) from None

    async def _read_once(self, deadline: float, fields: Collection[str] | None) -> list[Item]:
        found = _Found()
        ask: Ask | None = self._paging.first
        empty_pages = 0
        while ask is not None:
            number = found.asked(ask)
            page = await self._page(ask, number, deadline)
            if page is None:
                break
            where = page.answer.where
            records = [
                self._reader.record(item, f"{where}, item {number}", fields)
                for number, item in enumerate(page.items, start=1)
            ]
            found.add(page, records)
            empty_pages = 0 if page.items else empty_pages + 1
            if empty_pages > MAX_EMPTY_PAGES:
                raise RegistryRecordError(f"{empty_pages} empty pages, one after the other", where=page.answer.where)
            following = self._paging.after(ask, page)
            if following is not None and found.has_asked(following):
                raise _InconsistentError("the next page is one that was read before", page.answer.where)
            ask = following
        found.check_totals()
        return found.items

    async def _page(self, ask: Ask, number: int, deadline: float) -> Page | None:
        answer = await self._client.find(
            ask.url,
            deadline=deadline,
            json=ask.json,
            check=self._check,
            may_be_missing=ask.may_be_missing,
            hidden=self._hidden,
        )
        if answer is None:
            return None
        if ask.json is not None:  # all pages have one URL
            answer = Answer(answer.url, f"{answer.where}, page {number}", answer.headers, answer.body)
        items = self._items.of(answer.body, where=answer.where)
        if not isinstance(items, list):
            problem = f"no list of tenants at {self._items.text}"
            received = answer.body if items is None else items
            raise RegistryRecordError(problem, where=answer.where, received=received, allowed="a JSON array")
        return Page(answer, items, self._total_of(answer, is_first=number == 1))

    def _total_of(self, answer: Answer, *, is_first: bool) -> int | None:
        if self._total is None:
            return None
        total = self._total.of(answer.body, where=answer.where)
        if total is None and not is_first:  # some tell it once
            return None
        if isinstance(total, bool) or not isinstance(total, int) or total < 0:
            raise RegistryRecordError(
                f"no total at {self._total.text}", where=answer.where, received=total, allowed="a whole number"
            )
        return total


@dataclass(slots=True)
class _Found:
    """What one reading of the list has found until now."""

    items: list[Item] = field(default_factory=list)
    _asked: set[bytes] = field(default_factory=set)
    _pages: dict[bytes, str] = field(default_factory=dict)
    _records: set[bytes] = field(default_factory=set)
    _totals: dict[int, None] = field(default_factory=dict)  # a set in the order of coming
    _first: str = ""

    def asked(self, ask: Ask) -> int:
        """Remember a request, and return its number, from 1."""
        self._asked.add(_digest([str(ask.url), ask.json]))
        return len(self._asked)

    def has_asked(self, ask: Ask) -> bool:
        return _digest([str(ask.url), ask.json]) in self._asked

    def add(self, page: Page, records: list[Item]) -> None:
        """Take what was on no earlier page. Raises _InconsistentError where the whole page was."""
        where = page.answer.where
        self._first = self._first or where
        if page.items:
            digest = _digest(page.items)
            if before := self._pages.get(digest):
                raise _InconsistentError(f"the page is one that was read before, as {before}", where)
            self._pages[digest] = where
        digests = [_record_digest(record) for record in records]
        self.items += [record for record, digest in zip(records, digests, strict=True) if digest not in self._records]
        # Not before: what is there twice on one page is so in the source, no shift of pages.
        self._records.update(digest for digest in digests if digest is not None)
        if page.total is not None:
            self._totals[page.total] = None

    def check_totals(self) -> None:
        """Raise _InconsistentError where the totals are not one and the number of the items."""
        if self._totals and list(self._totals) != [len(self.items)]:
            told = " and then ".join(str(total) for total in self._totals)
            raise _InconsistentError(
                f"its total is {told}, but {len(self.items)} different items were read", self._first, is_changing=True
            )


def _record_digest(record: Item) -> bytes | None:
    """Return what two records have in common that are one; None: nobody can tell."""
    if isinstance(record, RegistryRecordError) or record.fields.get("tenant_id") is None:
        return None
    return _digest(record.fields)


def _digest(value: Any) -> bytes:
    # A default of the mapping may be a date of YAML, or have keys that cannot be sorted.
    try:
        text = json.dumps(value, sort_keys=True, default=str)
    except TypeError:
        text = ascii(value)
    return hashlib.sha256(text.encode()).digest()
