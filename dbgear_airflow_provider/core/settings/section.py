"""What all sections of the project file share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

SAFE_NAME = r"^[a-z][a-z0-9_]*$"
NonEmpty = Annotated[str, Field(min_length=1)]


def _location(value: Any) -> Path | str:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("a path or a URL is expected")
    return value if "://" in value else Path(value)


# A path, or the URL of a file on object storage: s3://bucket/tenants.csv
Location = Annotated[Path | str, PlainValidator(_location)]


class Section(BaseModel):
    """A mapping of the project file: unknown keys are errors, and what is loaded does not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")
