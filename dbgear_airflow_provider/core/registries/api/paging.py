"""How the list of an API is parted into pages, and which request follows an answer."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from typing_extensions import override

from ...errors import RegistryRecordError, SettingsError
from ...settings import ApiRegistrySettings, GraphqlSettings
from .client import Answer, ApiClient
from .expressions import Expression

_LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[\w*!#$&+.^`|~-]+\s*(?:=\s*(?:"(?:[^"\\]|\\.)*"|[^\s",;]*))?)*)')
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON may have half of a pair, which cannot be sent
_LINK_PARAM = re.compile(r';\s*([\w*!#$&+.^`|~-]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",;]*)))?')


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a page. json: None is a GET, else what is posted. may_be_missing: a 404 is an empty page."""

    url: httpx.URL
    json: Mapping[str, Any] | None = None
    may_be_missing: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """An answer with what it lists. total: how many tenants it says there are; None: it does not."""

    answer: Answer
    items: list[Any]
    total: int | None


class Paging(ABC):
    """A way of paging. ends_empty: whether an empty page is the last; else a next page may come after it."""

    ends_empty = False

    def __init__(self, first: Ask) -> None:
        self.first = first

    @abstractmethod
    def after(self, ask: Ask, page: Page) -> Ask | None:
        """Return the request for the next page; None: there is none. Raises RegistryRecordError."""


class OnePage(Paging):
    """The whole list is one answer."""

    @override
    def after(self, ask: Ask, page: Page) -> Ask | None:
        return None


class OffsetPaging(Paging):
    """Each page begins at an offset, the number of the items before it.

    A page may be shorter than was asked for, as a server may have a limit of its own: the list ends with an empty
    page, or where the total says so and the page is not full.
    """

    ends_empty = True

    def __init__(self, url: httpx.URL, options: ApiRegistrySettings) -> None:
        size = {} if options.limit_param is None else {options.limit_param: str(options.page_size)}
        self._url = url.copy_merge_params({**options.params, **size})
        self._param = options.offset_param
        self._page_size = options.page_size if size else 0
        super().__init__(self._at(0))

    @override
    def after(self, ask: Ask, page: Page) -> Ask | None:
        if not page.items:
            return None
        offset = int(ask.url.params[self._param]) + len(page.items)
        is_all = page.total is not None and offset >= page.total
        if is_all and len(page.items) < self._page_size:
            return None
        # Nothing should be there; a total that counts only one page is found out.
        return self._at(offset, may_be_missing=is_all)

    def _at(self, offset: int, *, may_be_missing: bool = False) -> Ask:
        return Ask(self._url.copy_set_param(self._param, str(offset)), may_be_missing=may_be_missing)


class CursorPaging(Paging):
    """Each answer has the cursor of the next page; the last one has none."""

    def __init__(self, url: httpx.URL, options: ApiRegistrySettings) -> None:
        size = {} if options.limit_param is None else {options.limit_param: str(options.page_size)}
        self._url = url.copy_merge_params({**options.params, **size})
        self._param = options.cursor_param
        self._cursor = Expression(options.cursor, where="api.cursor")
        super().__init__(Ask(self._url))

    @override
    def after(self, ask: Ask, page: Page) -> Ask | None:
        cursor = _cursor(self._cursor, page.answer)
        try:
            return None if cursor is None else Ask(self._url.copy_set_param(self._param, str(cursor)))
        except httpx.InvalidURL:
            raise RegistryRecordError(
                f"{self._cursor.text} is too long for a URL", where=page.answer.where, received=cursor
            ) from None


class LinkPaging(Paging):
    """Each answer has a header Link with rel="next" (RFC 8288); the last one has none."""

    def __init__(self, client: ApiClient, url: httpx.URL, options: ApiRegistrySettings) -> None:
        size = {} if options.limit_param is None else {options.limit_param: str(options.page_size)}
        self._client = client
        super().__init__(Ask(url.copy_merge_params({**options.params, **size})))

    @override
    def after(self, ask: Ask, page: Page) -> Ask | None:
        for target, params in _LINK.findall(page.answer.headers.get("Link", "")):
            found = {name.lower(): quoted or plain for name, quoted, plain in _LINK_PARAM.findall(params)}
            if "next" in found.get("rel", "").lower().split():
                return Ask(self._client.linked(page.answer, target))
        return None


class GraphqlPaging(Paging):
    """Each answer to a GraphQL query has the cursor of the next page."""

    def __init__(self, url: httpx.URL, options: ApiRegistrySettings, graphql: GraphqlSettings) -> None:
        self._graphql = graphql
        self._cursor = graphql.cursor and Expression(graphql.cursor, where="api.graphql.cursor")
        self._has_more = graphql.has_more and Expression(graphql.has_more, where="api.graphql.has_more")
        variables = self._variables = dict(graphql.variables)
        if graphql.limit_variable is not None and self._has(graphql.limit_variable):
            variables[graphql.limit_variable] = options.page_size
        if self._cursor and not self._has(graphql.cursor_variable):
            raise SettingsError(
                f"the query has no variable ${graphql.cursor_variable} for the cursor", where="api.graphql.query"
            )
        if self._has_more and not self._cursor:
            raise SettingsError("has_more without cursor", where="api.graphql.has_more")
        json = {"query": graphql.query, "variables": variables}
        super().__init__(Ask(url.copy_merge_params(options.params), json))

    @override
    def after(self, ask: Ask, page: Page) -> Ask | None:
        body, where = page.answer.body, page.answer.where
        if not self._cursor:
            return None
        has_more = self._has_more.of(body, where=where) if self._has_more else None
        if self._has_more and not isinstance(has_more, bool):
            raise RegistryRecordError(
                f"{self._has_more.text} is neither true nor false", where=where, received=has_more
            )
        cursor = None if has_more is False else _cursor(self._cursor, page.answer)
        if cursor is None:
            if has_more:
                raise RegistryRecordError(f"there are more, but {self._cursor.text} has no cursor", where=where)
            return None
        variables = {**self._variables, self._graphql.cursor_variable: cursor}
        return Ask(ask.url, {"query": self._graphql.query, "variables": variables})

    def _has(self, variable: str) -> bool:
        return re.search(rf"\${re.escape(variable)}\b", self._graphql.query) is not None


def paging_of(client: ApiClient, options: ApiRegistrySettings) -> Paging:
    """Return the paging that the settings name. Raises SettingsError for an expression that is none."""
    if options.graphql is not None:
        return GraphqlPaging(client.url(options.graphql.path), options, options.graphql)
    url = client.url(options.path)
    match options.paging:
        case "offset":
            return OffsetPaging(url, options)
        case "cursor":
            return CursorPaging(url, options)
        case "link":
            return LinkPaging(client, url, options)
        case "none":
            return OnePage(Ask(url.copy_merge_params(options.params)))


def _cursor(expression: Expression, answer: Answer) -> str | int | None:
    cursor = expression.of(answer.body, where=answer.where)
    if cursor is None or cursor is False or cursor == "":
        return None
    if isinstance(cursor, bool) or not isinstance(cursor, str | int):
        raise RegistryRecordError(
            f"{expression.text} is no cursor", where=answer.where, received=cursor, allowed="a text or a whole number"
        )
    if isinstance(cursor, str) and _LONE_SURROGATE.search(cursor):
        raise RegistryRecordError(f"{expression.text} is no text of Unicode", where=answer.where, received=cursor)
    return cursor
