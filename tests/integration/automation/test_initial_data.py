"""Initial data on real servers: what is in the tables afterwards, whatever was in the files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import yaml

from dbgear_airflow_provider.core.automation import OperationStatus, provision
from dbgear_airflow_provider.core.settings import MultiTenantSettings
from tests.integration.automation.logins import Login, drop_roles

TEMPLATE = """
schemas:
  shop:
    tables:
      plans:
        columns:
          - {columnName: code, columnType: VARCHAR(30), nullable: false, primaryKey: 1}
          - {columnName: 名前, columnType: VARCHAR(100), nullable: false}
          - {columnName: key, columnType: JSON}
          - {columnName: price, columnType: "DECIMAL(10,2)", nullable: false, defaultValue: "5"}
          - {columnName: made_at, columnType: DATETIME}
      members:
        columns:
          - {columnName: id, columnType: INT AUTO_INCREMENT, nullable: false, primaryKey: 1}
          - {columnName: parent_id, columnType: INT}
          - {columnName: plan, columnType: VARCHAR(30), nullable: false}
          - {columnName: active, columnType: TINYINT(1), nullable: false, defaultValue: "1"}
          - {columnName: raw, columnType: BINARY(4)}
        relations:
          - {target: {tableName: plans}, bindColumns: [{sourceColumn: plan, targetColumn: code}]}
          - {target: {tableName: members}, bindColumns: [{sourceColumn: parent_id, targetColumn: id}],
             constraintName: parent}
      notes:
        columns:
          - {columnName: text, columnType: TEXT}
"""
TEXTS = ["Foo (Bar)", "DROP(x)", 'it\'s \\ "quoted" %s', "絵文字😀", "$$name", "NOW() "]


@pytest.fixture(params=["fleet", "mysql_fleet"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    fleet = request.getfixturevalue(request.param)
    fleet.template.write_text(TEMPLATE)
    fleet.data = tmp_path / "data"
    fleet.data.mkdir()
    fleet.q = '"' if request.param == "fleet" else "`"
    fleet.delete_rows = False
    validate = MultiTenantSettings.model_validate

    def with_data(tree: Any) -> Any:
        template = {"name": "s", "file": "schema.j2", "initial_data": fleet.data, "delete_rows": fleet.delete_rows}
        tree["templates"]["schema_templates"] = [template]
        return validate(tree)

    monkeypatch.setattr(MultiTenantSettings, "model_validate", with_data)
    return fleet


def write(shop: Any, table: str, rows: list[dict[str, Any]], mode: str = "update_diff", **model: Any) -> None:
    (shop.data / f"main@{table}.yaml").write_text(yaml.safe_dump({"description": "", "syncMode": mode, **model}))
    (shop.data / f"main@{table}.dat").write_text(yaml.safe_dump(rows, allow_unicode=True, sort_keys=False))


async def run(shop: Any, *, dry_run: bool = False, isolation: str = "schema", **settings: Any) -> Any:
    ids = shop.tenants(1, isolation=isolation)
    async with shop.engine(**settings) as engine:
        (result,) = await engine.bulk_provision_tenants({"tenant_id": ids}, dry_run=dry_run)
    return result


async def loaded(shop: Any, **settings: Any) -> tuple[int, int]:
    result = await run(shop, **settings)
    assert result.status is OperationStatus.SUCCESS, result.error
    return result.details["rows"]["inserted"], result.details["rows"]["updated"]


def rows(shop: Any, table: str, columns: str = "*", order: str = "1") -> list[tuple[Any, ...]]:
    name = f"t0001_{shop.database}_jp_main"
    found = shop.query(f"SELECT {columns} FROM {shop.q}{name}{shop.q}.{table} ORDER BY {order}")
    return [tuple(row) for row in found]


def plan(code: str = "free", **more: Any) -> dict[str, Any]:
    return {"code": code, "名前": "無料", **more}


async def test_rows_are_there_as_the_files_have_them(shop):
    made = "NOW()"
    write(shop, "plans", [plan(key={"上限": [1, True]}, made_at=made), plan("pro", price="12.50")])
    write(
        shop,
        "members",
        [{"id": 7, "plan": "pro", "parent_id": 9, "active": False}, {"id": 9, "plan": "free", "raw": b"a\0"}],
    )
    write(shop, "notes", [{"text": text} for text in TEXTS[:-1]])
    assert await loaded(shop) == (9, 0)
    assert rows(shop, "plans", "code, price") == [("free", 5), ("pro", 12.5)]
    assert rows(shop, "plans", "COUNT(made_at)") == [(1,)]
    assert [
        (id_, parent, plan_, int(active))
        for id_, parent, plan_, active in rows(shop, "members", "id, parent_id, plan, active")
    ] == [(7, 9, "pro", 0), (9, None, "free", 1)]
    texts = {text.replace("$$name", "$name") for text in TEXTS[:-1]}
    assert {text for (text,) in rows(shop, "notes")} == texts
    # The next number is behind those that were given.
    name = f"t0001_{shop.database}_jp_main"
    shop.query(f"INSERT INTO {shop.q}{name}{shop.q}.members (plan) VALUES ('pro')")
    assert max(rows(shop, "members", "id"))[0] > 9


async def test_the_second_run_does_nothing_and_keeps_what_people_changed(shop):
    write(shop, "plans", [plan(), plan("pro")])
    write(shop, "notes", [{"text": "once"}])
    assert await loaded(shop) == (3, 0)
    name = f"t0001_{shop.database}_jp_main"
    shop.query(f"UPDATE {shop.q}{name}{shop.q}.plans SET price = 99 WHERE code = 'pro'")
    assert await loaded(shop) == (0, 0)
    write(shop, "plans", [plan(名前="ただ"), plan("pro"), plan("max")])
    assert await loaded(shop) == (1, 1)
    assert rows(shop, "plans", "code, price") == [("free", 5), ("max", 5), ("pro", 99)]
    assert rows(shop, "notes") == [("once",)]
    write(shop, "plans", [plan(名前="又"), plan("new")], "drop_create")
    assert await loaded(shop) == (1, 0)


async def test_a_table_that_is_made_anew_has_its_rows_again_and_others_are_left_alone(shop):
    write(shop, "plans", [plan(), plan("pro")])
    write(shop, "notes", [{"text": "once"}])
    assert await loaded(shop) == (3, 0)
    name = f"{shop.q}t0001_{shop.database}_jp_main{shop.q}"
    shop.query(f"UPDATE {name}.plans SET price = 99")
    shop.query(f"DROP TABLE {name}.notes")
    assert (await run(shop, dry_run=True)).details["rows"]["inserted"] == 1
    assert await loaded(shop) == (1, 0)
    assert rows(shop, "notes") == [("once",)]
    assert rows(shop, "plans", "code, price") == [("free", 99), ("pro", 99)]
    assert await loaded(shop) == (0, 0)


async def test_rows_that_left_the_files_are_told_and_deleted_only_when_asked(shop):
    write(shop, "plans", [plan(), plan("pro")], "replace")
    await loaded(shop)
    write(shop, "plans", [plan()], "replace")
    assert (await run(shop)).details["rows"]["beside"] == 1
    assert len(rows(shop, "plans")) == 2
    shop.delete_rows = True
    assert (await run(shop)).details["rows"] == {"inserted": 0, "updated": 0, "deleted": 1, "beside": 0}
    assert rows(shop, "plans", "code") == [("free",)]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"text": "a\0b"}, "NUL"),
        ({"text": "$nobody"}, "tenant_id"),
        ({"tekst": "a"}, "text"),
    ],
)
async def test_a_bad_row_is_named_and_nothing_is_written(shop, row, told):
    write(shop, "plans", [plan()])
    write(shop, "notes", [{"text": "good"}, row])
    result = await run(shop)
    assert result.details["error_kind"] == "DataError"
    assert "main@notes.dat, row 2" in result.error
    assert told in result.error
    assert shop.catalog() == {}


async def test_a_row_that_the_server_refuses_leaves_no_row(shop):
    write(shop, "plans", [plan()])
    write(shop, "members", [{"id": 1, "plan": "nobody's"}])
    assert (await run(shop)).details["error_kind"] == "StatementError"
    assert not shop.catalog() or rows(shop, "plans") == []
    write(shop, "members", [{"id": 1, "plan": "free"}])
    assert await loaded(shop) == (2, 0)


async def test_what_a_variable_brings_is_a_value(shop):
    ids = shop.tenants(1)
    shop.configure(ids[0], {"limits": {"users": 3}, "evil": "$tenant_id ${REGION} NOW()", "fn": "NOW()"})
    write(shop, "plans", [plan("$tenant_id-${REGION}", key="$limits")])
    write(shop, "notes", [{"text": "$evil"}, {"text": "$fn"}])
    assert await loaded(shop) == (3, 0)
    assert rows(shop, "plans", "code") == [("T0001-jp",)]
    assert {text for (text,) in rows(shop, "notes")} == {"$tenant_id ${REGION} NOW()", "NOW()"}


async def test_a_circle_of_dependencies_is_named(shop):
    write(shop, "plans", [plan()], dependencies=["main@notes"])
    write(shop, "notes", [{"text": "a"}], dependencies=["main@plans"])
    result = await run(shop)
    assert result.details["error_kind"] == "DataError"
    assert "main@notes" in result.error
    assert "main@plans" in result.error


async def test_ten_thousand_rows_in_segments(shop):
    (shop.data / "main@plans.yaml").write_text("description: ''\nsync_mode: update_diff\ndata_params: {segment: x}\n")
    for segment in range(2):
        made = [plan(f"p{segment}-{number}", price=number) for number in range(5000)]
        (shop.data / f"main@plans#{segment}.dat").write_text(yaml.dump(made, Dumper=yaml.CSafeDumper))
    assert await loaded(shop) == (10_000, 0)
    assert rows(shop, "plans", "COUNT(*)") == [(10_000,)]
    (shop.data / "main@plans#2.dat").write_text(yaml.dump([plan("last")]))
    assert await loaded(shop) == (1, 0)


async def test_a_dry_run_shows_the_statements_and_writes_nothing(shop):
    write(shop, "plans", [plan()])
    result = await run(shop, dry_run=True)
    assert result.details["rows"]["inserted"] == 1
    assert any("INSERT INTO" in text and "無料" in text for text in result.details["instances"]["main"]["statements"])
    assert shop.catalog() == {}


TYPES = """
schemas:
  shop:
    tables:
      kinds:
        columns:
          - {columnName: id, columnType: INT, nullable: false, primaryKey: 1}
          - {columnName: kind, columnType: "ENUM('a','b')"}
          - {columnName: flags, columnType: "SET('x','y','z')"}
          - {columnName: bits, columnType: BIT(10)}
          - {columnName: at, columnType: TIME(3)}
          - {columnName: ratio, columnType: FLOAT}
          - {columnName: weight, columnType: DOUBLE}
          - {columnName: raw, columnType: VARBINARY(8)}
          - {columnName: fixed, columnType: BINARY(4)}
          - {columnName: doc, columnType: JSON}
          - {columnName: day, columnType: DATE}
          - {columnName: made, columnType: DATETIME(3)}
          - {columnName: moment, columnType: TIMESTAMP, nullable: true}
          - {columnName: big, columnType: BIGINT UNSIGNED}
          - {columnName: price, columnType: "DECIMAL(12,4)"}
          - {columnName: text, columnType: TEXT}
"""
KINDS = {
    "kind": "b", "flags": "z,x", "bits": "b'101'", "at": "13:30:00.1239", "ratio": 0.1, "weight": 0.1,
    "raw": b"\xff\0'\\", "fixed": b"a", "doc": {"名": [1, None, True, 0.1, "a\\u0000'"]}, "day": "2026-01-31",
    "made": "2026-01-31T13:30:00.5+09:00", "moment": "2026-01-31 04:30:00", "big": 2**63 - 1, "price": 0.1,
    "text": "a\\u0000 \\' %s :x 😀",
}  # fmt: skip


async def test_a_row_of_all_types_is_found_again_as_it_was_written(shop):
    shop.template.write_text(TYPES)
    nothing = dict.fromkeys(KINDS)
    others = [{"id": 3, "doc": "plain words"}, {"id": 4, "flags": [], "raw": b"", "doc": [], "text": "A"}]
    write(shop, "kinds", [{"id": 1, **KINDS}, {"id": 2, **nothing}, *others])
    assert await loaded(shop) == (4, 0)
    _, text, day, price = rows(shop, "kinds", "id, text, day, price")[0]
    assert (text, str(day), float(price)) == (KINDS["text"], "2026-01-31", 0.1)
    # Another row makes all of them compared, and none of them differs.
    write(shop, "kinds", [{"id": 1, **KINDS}, {"id": 2, **nothing}, *others, {"id": 5}])
    assert await loaded(shop) == (1, 0)
    changed = {**KINDS, "doc": {"名": []}}
    write(shop, "kinds", [{"id": 1, **changed}, {"id": 2, **KINDS}, *others[:1], {**others[1], "text": "a"}])
    assert await loaded(shop) == (0, 3)


CIRCLES = """
schemas:
  shop:
    tables:
      one:
        columns:
          - {columnName: id, columnType: INT, nullable: false, primaryKey: 1}
          - {columnName: two_id, columnType: INT}
        relations:
          - {target: {tableName: two}, bindColumns: [{sourceColumn: two_id, targetColumn: id}]}
      two:
        columns:
          - {columnName: id, columnType: INT, nullable: false, primaryKey: 1}
          - {columnName: one_id, columnType: INT}
        relations:
          - {target: {tableName: one}, bindColumns: [{sourceColumn: one_id, targetColumn: id}]}
      named:
        columns:
          - {columnName: id, columnType: INT AUTO_INCREMENT, nullable: false, primaryKey: 1}
          - {columnName: code, columnType: VARCHAR(20), nullable: false}
          - {columnName: note, columnType: TEXT}
        indexes:
          - {indexName: uq_code, columns: [code], unique: true}
"""


async def test_rows_that_refer_to_each_other(shop):
    write(shop, "plans", [plan()])
    chain = [{"id": id_, "plan": "free", "parent_id": parent} for id_, parent in [(1, 2), (2, 3), (3, None), (4, 4)]]
    write(shop, "members", chain)
    assert await loaded(shop) == (5, 0)
    assert rows(shop, "members", "id, parent_id") == [(1, 2), (2, 3), (3, None), (4, 4)]
    write(shop, "members", [{**row, "parent_id": 1 if row["id"] == 3 else row["parent_id"]} for row in chain])
    error = (await run(shop)).error
    assert "rows refer to each other in a circle" in error
    assert "main@members.dat, row 3" in error


async def test_tables_that_refer_to_each_other(shop):
    shop.template.write_text(CIRCLES)
    write(shop, "one", [{"id": 1, "two_id": 1}])
    write(shop, "two", [{"id": 1, "one_id": 1}])
    result = await run(shop)
    assert result.details["error_kind"] == "DataError"
    assert "tables depend on each other in a circle" in result.error
    write(shop, "two", [{"id": 1}])
    assert await loaded(shop) == (2, 0)


async def test_a_row_is_found_by_a_unique_index_where_it_has_no_key(shop):
    shop.template.write_text(CIRCLES)
    write(shop, "named", [{"code": "a", "note": "one"}, {"code": "b", "note": "two"}])
    assert await loaded(shop) == (2, 0)
    before = rows(shop, "named", "id, code")
    write(shop, "named", [{"code": "b", "note": "changed"}, {"code": "a", "note": "one"}, {"code": "c"}])
    assert await loaded(shop) == (1, 1)
    assert rows(shop, "named", "id, code, note")[:2] == [(*before[0], "one"), (*before[1], "changed")]


async def test_isolation_database_and_table(shop):
    write(shop, "plans", [plan(key={"id": "$tenant_id"})])
    write(shop, "members", [{"id": 7, "plan": "free"}])
    for isolation in ("database", "table"):
        assert await loaded(shop, isolation=isolation) == (2, 0)
        assert await loaded(shop, isolation=isolation) == (0, 0)
        write(shop, "plans", [plan(key=isolation)])
        assert await loaded(shop, isolation=isolation) == (0, 1)
        write(shop, "plans", [plan(key={"id": "$tenant_id"})])


def insert_meanwhile(shop: Any, monkeypatch: pytest.MonkeyPatch, values: str) -> None:
    """Have somebody insert a plan between what the first attempt reads and what it writes."""
    plan_load, left = provision.plan_load, [values]

    async def meanwhile(*args: Any, **kwargs: Any) -> Any:
        load = await plan_load(*args, **kwargs)
        if left:
            name = f"{shop.q}t0001_{shop.database}_jp_main{shop.q}"
            shop.query(f"INSERT INTO {name}.plans (code, {shop.q}名前{shop.q}) VALUES {left.pop()}")
        return load

    monkeypatch.setattr(provision, "plan_load", meanwhile)


async def test_a_row_that_somebody_inserts_meanwhile_is_taken_over(shop, monkeypatch):
    write(shop, "plans", [plan()])
    await loaded(shop)
    write(shop, "plans", [plan(), plan("pro"), plan("max")])
    insert_meanwhile(shop, monkeypatch, "('pro', 'theirs')")
    result = await run(shop)
    assert result.status is OperationStatus.SUCCESS
    assert result.details["attempts"] == 2
    assert result.details["rows"] == {"inserted": 1, "updated": 1, "deleted": 0, "beside": 0}
    assert rows(shop, "plans", f"code, {shop.q}名前{shop.q}") == [("free", "無料"), ("max", "無料"), ("pro", "無料")]


async def test_a_value_that_another_row_has_is_an_error_in_the_end(shop):
    shop.template.write_text(CIRCLES)
    write(shop, "named", [{"id": 1, "code": "a"}])
    assert await loaded(shop) == (1, 0)
    write(shop, "named", [{"id": 1, "code": "a"}, {"id": 2, "code": "b"}])
    name = f"t0001_{shop.database}_jp_main"
    shop.query(f"INSERT INTO {shop.q}{name}{shop.q}.named (id, code) VALUES (9, 'b')")
    result = await run(shop)
    assert (result.details["error_kind"], result.details["attempts"]) == ("StatementError", 2)
    assert rows(shop, "named", "id") == [(1,), (9,)]


async def test_a_sheet_is_loaded(shop):
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = "plans"
    for cells in (["code", "名前", "price", "key.上限", "made_at"], ["free", "無料", None, 3, datetime(2026, 1, 31)]):
        book.active.append(cells)
    book.save(shop.data / "main@plans.xlsx")
    (shop.data / "main@plans.yaml").write_text("{dataType: xlsx, syncMode: update_diff}")
    assert await loaded(shop) == (1, 0)
    assert rows(shop, "plans", "code, price, made_at") == [("free", 5, datetime(2026, 1, 31))]
    book.active["C2"] = "five"
    book.save(shop.data / "main@plans.xlsx")
    assert "main@plans.xlsx, sheet plans, row 2, column price: not a number; received 'five'" in (await run(shop)).error


@pytest.mark.parametrize("isolation", ["schema", "table"])
async def test_rows_go_in_where_a_role_owns_the_tables(shop, isolation):
    shop.with_roles()
    write(shop, "plans", [plan(), plan("pro")])
    user = f"u_{shop.database}"
    if not shop.target().schemas_are_databases:
        shop.query(f"CREATE ROLE {user} LOGIN CREATEROLE CREATEDB PASSWORD 'geheim'")
        shop.query(f'GRANT CREATE ON DATABASE "{shop.database}" TO {user}')
        shop.user = (user, "geheim")
    try:
        result = await run(shop, isolation=isolation)
        assert result.error is None
        assert result.details["rows"]["inserted"] == 2
        login = Login(shop, "T0001")
        assert login.do(f"SELECT COUNT(*) FROM {login.table('plans')}") == [(2,)]
        write(shop, "plans", [plan(), plan("pro"), plan("max")])
        assert (await run(shop, isolation=isolation)).details["rows"]["inserted"] == 1
        again = await run(shop, isolation=isolation, dry_run=True)
        assert again.details["instances"]["main"]["statements"] == []
        async with shop.engine() as engine:
            report = await engine.check_drift({})
        assert (len(report.groups), report.drifted, report.unread) == (1, [], [])
    finally:
        shop.drop_databases()
        shop.user = None
        drop_roles(shop)
