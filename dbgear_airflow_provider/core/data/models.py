"""`DataModel`: how the rows of one table are kept in step, DBGear's `<schema>@<table>.yaml`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from ..errors import DataError

log = logging.getLogger(__name__)

SyncMode = Literal["manual", "drop_create", "update_diff", "replace"]
_told: set[tuple[str, str]] = set()


class _Model(BaseModel):
    # Unknown keys are ignored, as DBGear does, but told.
    model_config = ConfigDict(
        frozen=True, extra="allow", populate_by_name=True, alias_generator=AliasGenerator(alias=to_camel)
    )


class DataParams(_Model):
    """segment: the rows are in `#<segment>` files alone. The other keys are of DBGear's editor."""

    segment: str | int | None = None
    layout: Any = None
    settings: Any = None
    value: Any = None
    caption: Any = None
    x_axis: Any = None
    y_axis: Any = None
    cells: Any = None


class SheetArgs(_Model):
    """Where in a workbook the rows are. Numbers of rows count from 1. sheet_name: None means as the table."""

    sheet_name: str | None = None
    header_row: Annotated[int, Field(ge=1)] = 1
    start_row: Annotated[int, Field(ge=2)] | None = None


class DataModel(_Model):
    """A data model. dependencies: `schema@table` whose rows come before these.

    data_path: the workbook of `xlsx`, in the folder; None means `<schema>@<table>.xlsx`. data_args: `SheetArgs` then.
    """

    description: str = ""
    sync_mode: SyncMode = "drop_create"
    data_type: Literal["yaml", "xlsx", "python"] = "yaml"
    data_path: str | None = None
    data_args: dict[str, Any] = {}
    data_params: DataParams = DataParams()
    dependencies: list[Annotated[str, Field(pattern=r"^[^@]+@[^@]+$")]] = []

    @classmethod
    def load(cls, tree: Any, *, where: str) -> DataModel:
        """Validate a data model. Raises DataError that names file and key."""
        model = _validated(cls, tree, where)
        _tell(model.data_params, where)
        return model

    def sheet_args(self, *, where: str) -> SheetArgs:
        """Return `data_args` of a workbook. Raises DataError that names file and key."""
        return _validated(SheetArgs, self.data_args, f"{where}, data_args")


_Any = TypeVar("_Any", bound=_Model)


def _validated(kind: type[_Any], tree: Any, where: str) -> _Any:
    if not isinstance(tree, Mapping):
        raise DataError("not a mapping", where=where, allowed=list(kind.model_fields))
    try:
        model = kind.model_validate(tree)
    except ValidationError as error:
        item = error.errors(include_url=False)[0]
        place = ".".join(map(str, item["loc"]))
        received = item["input"] if isinstance(item["input"], str | int | float) else None
        raise DataError(item["msg"], where=f"{where}, {place}", received=received) from None
    _tell(model, where)
    return model


def _tell(model: _Model, where: str) -> None:
    for key in model.model_extra or ():
        if (where, key) not in _told:
            _told.add((where, key))
            log.warning("%s: unknown key %s is ignored", where, key)
