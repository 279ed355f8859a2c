"""Which changes of a type keep every value."""

from __future__ import annotations

import pytest

from dbgear_airflow_provider.core.schema.widening import family, keeps_values

WIDER = [
    ("character varying(50)", "character varying(100)"),
    ("character varying(50)", "character varying"),
    ("character varying(50)", "text"),
    ("smallint", "integer"),
    ("integer", "bigint"),
    ("integer", "numeric(12,2)"),
    ("numeric(10,2)", "numeric(12,4)"),
    ("numeric(10,2)", "numeric"),
    ("real", "double precision"),
    ("timestamp(0) without time zone", "timestamp(6) without time zone"),
    ("timestamp(3) without time zone", "timestamp without time zone"),
    ("varchar(50)", "varchar(51)"),
    ("varchar(255)", "text"),
    ("text", "mediumtext"),
    ("varbinary(20)", "blob"),
    ("int(11)", "bigint(20)"),
    ("int(10) unsigned", "bigint(20)"),
    ("tinyint(1)", "int(11)"),
    ("decimal(5,2) unsigned", "decimal(5,2)"),
    ("datetime", "datetime(3)"),
    ("enum('a','b')", "enum('a','b','c)')"),
    ("char(3)", "char(4)"),
    ("character varying", "text"),
    ("text", "character varying"),
    ("bigint(20)", "bigint"),
]
NARROWER_TOO = [
    ("varchar(20000)", "text"),
    ("text", "varchar(20000)"),
    ("text", "character varying(50)"),
    ("character varying", "character varying(50)"),
    ("int(11)", "int(10) unsigned"),
    ("integer", "numeric(11,2)"),
    ("numeric(10,2)", "numeric(11,4)"),
    ("character varying(5)", "integer"),
    ("bytea", "text"),
    ("varchar(5)", "varbinary(20)"),
    ("date", "timestamp(0) without time zone"),
    ("timestamp(0) without time zone", "timestamp(0) with time zone"),
    ("enum('a','b')", "enum('a','c')"),
    ("enum('a')", "varchar(1)"),
]


@pytest.mark.parametrize(("old", "new"), WIDER)
def test_wider_types_keep_every_value(old: str, new: str) -> None:
    assert keeps_values(old, new)


@pytest.mark.parametrize(("old", "new"), [*((new, old) for old, new in WIDER[:-3]), *NARROWER_TOO])
def test_what_is_not_known_to_keep_them_may_lose_some(old: str, new: str) -> None:
    assert not keeps_values(old, new)


def test_families() -> None:
    assert family("int(10) unsigned") == family("numeric(3,1)") == family("double precision") == "number"
    assert family("character varying(3)") == family("text") == family("longtext") == "text"
    assert family("varbinary(3)") == family("blob")
    assert family("timestamp(3) with time zone") == "timestamp"
