"""Scripts are cut where psql and mysql cut them: whatever statements are joined, the same ones come out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbgear_airflow_provider.core.errors import MigrationError
from dbgear_airflow_provider.core.migrations.macros import Macros
from dbgear_airflow_provider.core.migrations.script import parse_script
from tests.unit.migrations.conftest import DIALECTS

MANY = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))

# What may stand in a string, whatever its quotes, once those are doubled.
TEXT = st.text(st.sampled_from("ab;'\"`$-#/*\\\n {}é日:"), max_size=8)


def doubled(quote: str, *, backslash: bool = False):
    return TEXT.map(
        lambda text: quote + (text.replace("\\", "\\\\") if backslash else text).replace(quote, quote * 2) + quote
    )


def dollars():
    tags = st.sampled_from(["$$", "$a$", "$Ab_1$", "$é$"])
    return st.tuples(tags, TEXT).filter(lambda t: t[0] not in t[1] + "$").map(lambda t: f"{t[0]}{t[1]}{t[0]}")


WORDS = st.sampled_from(
    ["a", "x1", "case when a then b end", "1", "1.5e3", "(", ")", "()", "=", "begin", "end", "if(a,b)"]
)
SPACE = st.sampled_from([" ", "\n", "\t", "  \n"])
BLOCK_COMMENT = st.sampled_from(["/* ; */", "/*'*/", '/* " -- */', "/**/", "/* $$ */"])
LITERALS = {
    "postgresql": st.one_of(
        doubled("'"), doubled('"').filter(lambda text: text != '""'), dollars(),
        TEXT.map(lambda text: "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"),
        st.sampled_from(["b'01'", "x'1F'", "N'a;'", "U&'d\\0061;'", 'U&"d;"', "a$b$c"]),
    ),
    "mysql": st.one_of(
        doubled("'", backslash=True), doubled('"', backslash=True), doubled("`").filter(lambda text: text != "``"),
        TEXT.map(lambda text: "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"),
        st.sampled_from(["x'1F'", "b'01'", "N'a;'", "_utf8mb4'a;'", "@`a;`", "@@x", "a$b", "1--2", "0xFF"]),
    ),
}  # fmt: skip
COMMENTS = {
    "postgresql": st.one_of(BLOCK_COMMENT, st.sampled_from(["-- ; '\n", "--\n", "/* /* ; */ ' */"])),
    "mysql": st.one_of(BLOCK_COMMENT, st.sampled_from(["-- ; '\n", "--\n", "# ; '\n", "#\n", "/* /* ; */"])),
}
BODIES = {
    "postgresql": [
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN a THEN 1 END; END",
        "CREATE OR REPLACE PROCEDURE p(a int) LANGUAGE sql BEGIN ATOMIC INSERT INTO a VALUES (1); END",
        "CREATE RULE r AS ON INSERT TO a DO ALSO (SELECT 1; SELECT 2)",
        "DO $do$ BEGIN PERFORM 1; IF true THEN RETURN; END IF; END $do$",
    ],
    "mysql": [
        "CREATE PROCEDURE p() BEGIN END",
        "CREATE DEFINER=`a`@`b` PROCEDURE p(a SET('x')) COMMENT 'b;' BEGIN IF a THEN SELECT IF(a, 1, 2); END IF; END",
        "CREATE DEFINER=CURRENT_USER() FUNCTION f() RETURNS SET('a','b') DETERMINISTIC RETURN IF(1, 2, 3)",
        "CREATE PROCEDURE p() l: LOOP IF a THEN LEAVE l; ELSEIF b THEN ITERATE l; ELSE DO 1; END IF; END LOOP l",
        "CREATE PROCEDURE p() BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION, 1062 BEGIN DO 1; END; SELECT end; END",
        "CREATE PROCEDURE p() BEGIN CASE a WHEN 1 THEN SET @b = CASE c WHEN 1 THEN 2 ELSE IF(d,3,4) END; END CASE; END",
        "CREATE PROCEDURE p() BEGIN REPEAT SET a = 1; UNTIL a END REPEAT; WHILE b DO DO 1; END WHILE; END",
        "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW FOLLOWS u IF NEW.a THEN SET NEW.b = 1; END IF",
        "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.b = IF(NEW.a, 1, 2)",
        "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO BEGIN DELETE FROM a; UPDATE b SET c = 1; END",
        "BEGIN NOT ATOMIC IF a THEN SELECT 1; END IF; END",
        "CREATE TABLE event (begin int, end int)",
    ],
}  # fmt: skip


@st.composite
def statements(draw: st.DrawFn, engine: str) -> str:
    if draw(st.booleans()) and draw(st.booleans()):
        return draw(st.sampled_from(BODIES[engine]))
    inner = draw(st.lists(st.one_of(WORDS, LITERALS[engine], COMMENTS[engine].map(lambda c: f" {c} ")), max_size=6))
    text = "SELECT"
    for piece in inner:
        text += draw(SPACE) + piece
    # psql keeps what is in parentheses together, so each that is open is closed.
    return f"{text} x" if engine == "mysql" else balanced(text) + " x"


def balanced(text: str) -> str:
    words = text.count(" (") + text.count("\n(") + text.count("\t(")
    return text + ")" * words


def pieces(engine: str, script: str) -> list[str]:
    dialect = DIALECTS[engine]
    migration = parse_script(Path("1.sql"), script, version="1", name="", dialect=dialect, macros=Macros(dialect))
    return [statement.text for statement in migration.up.statements]


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
@given(data=st.data())
@MANY
def test_joined_statements_are_split_into_themselves(engine, data):
    drawn = data.draw(st.lists(statements(engine), min_size=1, max_size=5))
    between = st.lists(st.one_of(SPACE, COMMENTS[engine], st.just(";")), max_size=3).map("".join)
    script = data.draw(between)
    for number, statement in enumerate(drawn):
        last = number == len(drawn) - 1
        script += statement + ("" if last and data.draw(st.booleans()) else ";" + data.draw(between))
    assert pieces(engine, script) == drawn


@given(data=st.data(), delimiter=st.sampled_from(["//", "$$", ";;", "|", "~~", "go!"]))
@MANY
def test_delimiter_lines_change_what_ends_a_statement(data, delimiter):
    # Of the client's two ways to read `a$$`, ours is the one with the delimiter.
    bodies = st.sampled_from([body for body in BODIES["mysql"] if body.startswith("CREATE") and ";" in body])
    drawn = data.draw(st.lists(bodies, min_size=1, max_size=3))
    end = data.draw(st.sampled_from(["", ";", "\n", ";\n"]))
    script = f"SELECT 1;\n  delimiter {delimiter}\n" + "".join(f"{body}{end}{delimiter}\n" for body in drawn)
    assert pieces("mysql", f"{script}DELIMITER ;\nSELECT 2; SELECT 3") == ["SELECT 1", *drawn, "SELECT 2", "SELECT 3"]


def test_a_delimiter_within_a_string_or_a_comment_ends_nothing():
    script = "DELIMITER //\nSELECT 'http://a' /* // */ -- //\n, \"//\"//\nSELECT 2//"
    assert pieces("mysql", script) == ["SELECT 'http://a' /* // */ -- //\n, \"//\"", "SELECT 2"]


PIECES = [
    *"ab;'\"`$-#/*\\\n {}()é",
    "BEGIN ",
    "END ",
    "$a$",
    "${PREFIX}",
    "0x",
    "U&",
    "DELIMITER ",
    "CREATE TRIGGER t ROW ",
    "CASE ",
]


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
@given(text=st.lists(st.sampled_from(PIECES)).map("".join))
@MANY
def test_any_text_is_split_or_told_as_no_script(engine, text):
    try:
        found = pieces(engine, text)
    except MigrationError as error:
        assert "1.sql, line " in str(error)
    else:
        assert all(piece == piece.strip() and piece in text for piece in found)
