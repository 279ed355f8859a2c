"""Reading a mapping folder: its data models and their rows, read again when a file changes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import yaml
from typing_extensions import override

from ..errors import DataError
from ..templating.documents import StrictLoader
from .models import DataModel
from .workbook import WORKBOOKS, sheet_rows

log = logging.getLogger(__name__)

VARYING = re.compile(r"\$[{$A-Za-z_]")
_PYTHON = "yaml; a Python module would run the project's own code with the rights of the worker"


class WrittenInt(int):
    """A whole number, and how the file writes it: `007` is a text where the column is one."""

    text: str


class WrittenFloat(float):
    """A number, and how the file writes it."""

    text: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """A row. where: file, row and line. varies: whether a text of it may hold variables or macros."""

    where: str
    values: Mapping[str, Any]
    varies: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class TableData:
    """The rows of one table. where: the data model's file."""

    schema: str
    table: str
    model: DataModel
    rows: Sequence[Row]
    where: str

    @property
    def name(self) -> str:
        """Return `schema@table`."""
        return f"{self.schema}@{self.table}"


@dataclass(frozen=True, kw_only=True, eq=False)
class DataFolder:
    """A mapping folder: the tables that are loaded, ordered by file name. varies: whether any row does."""

    tables: Sequence[TableData]
    varies: bool


class _Loader(StrictLoader):
    """YAML that keeps numbers and dates as they are written."""

    @override
    def comparable(self, key_node: yaml.Node) -> Any:
        return key_node.value  # keys become texts


def _int(loader: Any, node: yaml.ScalarNode) -> WrittenInt:
    number = WrittenInt(loader.construct_yaml_int(node))
    number.text = node.value
    return number


def _float(loader: Any, node: yaml.ScalarNode) -> WrittenFloat:
    number = WrittenFloat(loader.construct_yaml_float(node))
    number.text = node.value
    return number


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: node.value)

_State = tuple[tuple[str, int, int], ...]
_cache: dict[Path, tuple[_State, DataFolder]] = {}
_lock = Lock()


def read_folder(path: Path) -> DataFolder:
    """Return a mapping folder, from memory where no file of it has changed. Blocks on the disk. Raises DataError."""
    with _lock:
        state = _state(path)
        known = _cache.get(path)
        if known is None or known[0] != state:
            known = _cache[path] = (state, _read(path, [name for name, *_ in state]))
        return known[1]


def _state(path: Path) -> _State:
    try:
        files = [
            entry
            for entry in path.iterdir()
            if entry.suffix in WORKBOOKS or ("@" in entry.name and entry.suffix in {".yaml", ".dat"})
        ]
        stats = [(file.name, file.stat()) for file in files]
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path), allowed="a mapping folder") from error
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats))


def _read(path: Path, names: Sequence[str]) -> DataFolder:
    # `_select@...` are lists of the editor's, and patches are no data.
    models = [
        name
        for name in names
        if name.endswith(".yaml") and not name.endswith(".patch.yaml") and not name.startswith("_")
    ]
    stems = {name.removesuffix(".yaml") for name in models}
    for name in names:
        if name.endswith(".dat") and not name.startswith("_") and name[:-4].partition("#")[0] not in stems:
            log.warning("%s: %s has no data model and is not loaded", path, name)
    tables = [table for name in models if (table := _read_table(path, name, names)) is not None]
    return DataFolder(tables=tables, varies=any(row.varies for table in tables for row in table.rows))


def _read_table(path: Path, name: str, names: Sequence[str]) -> TableData | None:
    where = str(path / name)
    with_marks = _node(path / name)
    model = DataModel.load(_constructed(with_marks, path / name), where=where)
    if model.sync_mode == "manual":
        return None
    if model.data_type == "python":
        raise DataError("no such source of rows", where=f"{where}, data_type", received="python", allowed=_PYTHON)
    stem = name.removesuffix(".yaml")
    schema, _, table = stem.partition("@")
    if model.data_type == "xlsx":
        rows = _sheet(path, model, names, stem=stem, table=table)
    else:
        rows = _lists(path, model, names, stem=stem)
    return TableData(schema=schema, table=table, model=model, rows=rows, where=where)


def _sheet(path: Path, model: DataModel, names: Sequence[str], *, stem: str, table: str) -> list[Row]:
    where = str(path / f"{stem}.yaml")
    book = model.data_path or f"{stem}.xlsx"
    if book not in names:
        found = [name for name in names if Path(name).suffix in WORKBOOKS]
        allowed = found or f"{stem}.xlsx, or data_path: a workbook of the folder"
        raise DataError("the workbook is not there", where=where, received=book, allowed=allowed)
    args = model.sheet_args(where=where)
    first = args.start_row or args.header_row + 1
    found_rows = sheet_rows(path / book, args.sheet_name or table, header_row=args.header_row, start_row=first)
    return [_row(values, at) for at, values in found_rows]


def _lists(path: Path, model: DataModel, names: Sequence[str], *, stem: str) -> list[Row]:
    files = [item for item in names if item.startswith(f"{stem}#") and item.endswith(".dat")]
    if model.data_params.segment is None and f"{stem}.dat" in names:
        files.insert(0, f"{stem}.dat")
    if not files:
        where = str(path / f"{stem}.yaml")
        raise DataError("its rows are not there", where=where, allowed=f"{stem}.dat or {stem}#<segment>.dat")
    return [row for file in files for row in _rows(path / file)]


def _rows(path: Path) -> Iterator[Row]:
    root = _node(path)
    if root is None or (isinstance(root, yaml.ScalarNode) and root.value in {"", "null", "~"}):
        return
    if not isinstance(root, yaml.SequenceNode):
        raise DataError("not a list of rows", where=str(path), allowed="- column: value")
    for number, node in enumerate(root.value, 1):
        where = f"{path.name}, row {number} (line {node.start_mark.line + 1})"
        values = _constructed(node, path)
        if not isinstance(values, dict):
            raise DataError("not a row", where=where, allowed="column: value")
        yield _row({str(key): value for key, value in values.items()}, where)


def _row(values: Mapping[str, Any], where: str) -> Row:
    return Row(where=where, values=values, varies=any(map(_varies, values.values())))


def _varies(value: Any) -> bool:
    if isinstance(value, str):
        return VARYING.search(value) is not None
    if isinstance(value, dict):
        return any(map(_varies, value.values()))
    return isinstance(value, list) and any(map(_varies, value))


def _node(path: Path) -> yaml.Node | None:
    try:
        return yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _unreadable(error, path) from error


def _constructed(node: yaml.Node | None, path: Path) -> Any:
    loader = _Loader("")
    try:
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise _unreadable(error, path) from error
    finally:
        loader.dispose()


def _unreadable(error: Exception, path: Path) -> DataError:
    mark = getattr(error, "problem_mark", None)
    where = f"{path}, line {mark.line + 1}" if mark else str(path)
    return DataError(f"cannot be read: {getattr(error, 'problem', None) or error}", where=where, allowed="YAML, UTF-8")
