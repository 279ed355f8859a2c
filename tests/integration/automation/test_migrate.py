"""Migrations of a fleet on both engines, in all isolations: what tenants have and what their ledgers say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.automation.migrating import INDEX, ISOLATIONS, NOTES, PLAN, Scripts, changed, failures

isolations = pytest.mark.parametrize("isolation", ISOLATIONS)


@pytest.fixture(params=["fleet", "mysql_fleet"])
def scripts(request: Any) -> Scripts:
    return Scripts(request.getfixturevalue(request.param))


@isolations
async def test_scripts_are_applied_once_in_the_order_of_their_versions(scripts: Scripts, isolation: str) -> None:
    ids = await scripts.provisioned(3, isolation, instances="main,test")
    scripts.write("2_index.sql", INDEX, "INSERT INTO ${PREFIX}customers (id, plan) VALUES (1, '${TENANT_ID}');")
    scripts.write("1.5_plan.sql", PLAN)
    scripts.write("10_notes.sql", NOTES)
    results = await scripts.migrate()
    assert failures(results) == {}
    assert changed(results) == [6, 6, 6]
    for tenant_id in ids:
        for instance in ("main", "test"):
            assert scripts.ledger(tenant_id, instance) == ["1.5", "10", "2"]
            assert scripts.query(tenant_id, "SELECT plan FROM {customers}", instance) == [(tenant_id,)]
            assert scripts.columns(tenant_id, "notes", instance) == ["id"]
        assert scripts.indexes(tenant_id) == {"idx_plan"}
    details = results[1].details["instances"]["test"]
    assert (details["versions"], details["version"], details["looked"]) == (["1.5", "2", "10"], "10", "ledger")

    assert changed(await scripts.migrate()) == [0, 0, 0]


@isolations
async def test_a_dry_run_tells_the_exact_statements_and_changes_nothing(scripts: Scripts, isolation: str) -> None:
    (tenant_id,) = await scripts.provisioned(1, isolation)
    scripts.write("1_plan.sql", PLAN, INDEX)
    (result,) = await scripts.migrate(dry_run=True)
    statements = result.details["instances"]["main"]["statements"]
    prefix = scripts.place(tenant_id)[2]
    assert f"ALTER TABLE {prefix}customers ADD COLUMN plan VARCHAR(20)" in statements
    assert f"CREATE INDEX {prefix}idx_plan ON {prefix}customers (plan)" in statements
    assert "dbgear_migrations" in statements[-1]
    assert statements[0].startswith("USE" if scripts.is_mysql else "SET LOCAL search_path")
    assert scripts.ledger(tenant_id) == []
    assert scripts.columns(tenant_id) == ["id"]


@isolations
async def test_one_tenant_that_breaks_stops_no_other_and_runs_alone_when_mended(
    scripts: Scripts, isolation: str
) -> None:
    ids = await scripts.provisioned(8, isolation)
    scripts.query("T0005", "INSERT INTO {customers} VALUES (7)")
    scripts.write("1_notes.sql", NOTES, "INSERT INTO ${PREFIX}customers VALUES (7);", PLAN)
    results = await scripts.migrate("run")
    assert failures(results) == {"T0005": "StatementError"}
    assert "1_notes.sql, line 3" in results[4].error
    assert [id_ for id_ in ids if scripts.ledger(id_) == ["1"]] == [id_ for id_ in ids if id_ != "T0005"]
    assert scripts.columns("T0005") == ["id"]

    scripts.query("T0005", "DELETE FROM {customers}")
    results = await scripts.migrate("run")
    assert [item.tenant_id for item in results] == ["T0005"]
    assert failures(results) == {}
    assert scripts.ledger("T0005") == ["1"]
    assert scripts.columns("T0005") == ["id", "plan"]


async def test_a_tenant_whose_second_instance_fails_has_its_first_one_done(scripts: Scripts) -> None:
    await scripts.provisioned(1, instances="main,test")
    scripts.query("T0001", "DROP TABLE {customers}", "test")
    scripts.write("1_plan.sql", PLAN)
    assert failures(await scripts.migrate("run")) == {"T0001": "StatementError"}
    assert scripts.ledger("T0001") == ["1"]
    assert scripts.ledger("T0001", "test") == []
    scripts.query("T0001", "CREATE TABLE {customers} (id INT)", "test")
    assert changed(await scripts.migrate("run")) == [1]


@isolations
async def test_what_is_up_to_date_is_known_by_the_store_or_read_in_bulk(scripts: Scripts, isolation: str) -> None:
    ids = await scripts.provisioned(3, isolation)
    async with scripts.fleet.engine("made") as engine:  # the store knows the tenants
        await engine.bulk_provision_tenants({}, dry_run=False)
    scripts.write("1_plan.sql", PLAN)
    assert changed(await scripts.migrate("one")) == [1, 1, 1]

    def looked(results: list[Any]) -> list[str]:
        return [item.details["instances"]["main"]["looked"] for item in results]

    assert looked(await scripts.migrate("two")) == ["store"] * 3
    assert looked(await scripts.migrate("three", verify=True)) == ["ledger"] * 3
    # Somebody restores an older state behind our back: only a look into the ledgers finds it.
    scripts.query("T0002", "DELETE FROM {dbgear_migrations} WHERE version = '1'")
    scripts.query("T0002", "ALTER TABLE {customers} DROP COLUMN plan")
    assert changed(await scripts.migrate("four")) == [0, 0, 0]
    assert changed(await scripts.migrate("five", verify=True)) == [0, 1, 0]
    async with scripts.fleet.engine("x") as engine:
        store = engine._run.store
        rows = [await store.instances(id_) for id_ in ids]
        assert {row["version"] for ((row),) in rows} == {"1"}
        assert len({row["ledger"] for ((row),) in rows}) == 1
        # Those who need nothing are not in the history.
        assert [item.run_id for item in await store.history("T0001") if item.operation == "migrate"] == [
            *("one",),
            *(["three"] if isolation == "database" and not scripts.is_mysql else []),
            *(["five"] if isolation == "database" and not scripts.is_mysql else []),
        ]


@isolations
async def test_undoing_goes_back_to_a_version(scripts: Scripts, isolation: str) -> None:
    await scripts.provisioned(2, isolation)
    scripts.write("1_plan.sql", PLAN, down="ALTER TABLE ${PREFIX}customers DROP COLUMN plan;")
    scripts.write("2_notes.sql", NOTES, down="DROP TABLE ${PREFIX}notes;")
    scripts.write("3_more.sql", NOTES.replace("notes", "more"), down="DROP TABLE ${PREFIX}more;")
    await scripts.migrate("a")
    (dry, _) = await scripts.undo("1", dry_run=True)
    assert [text for text in dry.details["instances"]["main"]["statements"] if text.startswith("DROP")] == [
        f"DROP TABLE {scripts.place('T0001')[2]}{name}" for name in ("more", "notes")
    ]
    results = await scripts.undo("1", "b")
    assert failures(results) == {}
    assert results[0].details["instances"]["main"]["versions"] == ["3", "2"]
    for tenant_id in ("T0001", "T0002"):
        assert scripts.ledger(tenant_id) == ["1"]
        assert scripts.columns(tenant_id, "notes") == []
    assert changed(await scripts.undo("0")) == [1, 1]
    assert scripts.columns("T0001") == ["id"]
    assert changed(await scripts.migrate("c", to="2")) == [2, 2]


async def test_what_cannot_be_undone_leaves_all_as_it_is(scripts: Scripts) -> None:
    await scripts.provisioned(1)
    scripts.write("1_plan.sql", PLAN)
    scripts.write("2_notes.sql", NOTES, down="DROP TABLE ${PREFIX}notes;")
    await scripts.migrate()
    results = await scripts.undo("0")
    assert failures(results) == {"T0001": "MigrationError"}
    assert "version 1 cannot be undone" in results[0].error
    assert scripts.ledger("T0001") == ["1", "2"]


async def test_an_edited_script_is_refused_with_what_was_changed(scripts: Scripts) -> None:
    await scripts.provisioned(2)
    path = scripts.write("1_plan.sql", PLAN)
    await scripts.migrate("a")
    path.write_text("-- only a comment\n\n" + path.read_text().replace("-- migrate:up", "-- migrate:up\n-- why"))
    assert changed(await scripts.migrate("b")) == [0, 0]
    path.write_text(path.read_text().replace("20", "40"))
    results = await scripts.migrate("c")
    assert failures(results) == dict.fromkeys(["T0001", "T0002"], "EditedMigrationError")
    assert "version 1 was edited after it was applied" in results[0].error
    assert "-ALTER TABLE ${PREFIX}customers ADD COLUMN plan VARCHAR(20);" in results[0].error
    assert "+ALTER TABLE ${PREFIX}customers ADD COLUMN plan VARCHAR(40);" in results[0].error


async def test_older_and_unknown_versions_have_an_answer(scripts: Scripts) -> None:
    await scripts.provisioned(1)
    scripts.write("2_plan.sql", PLAN)
    await scripts.migrate()
    older = scripts.write("1_notes.sql", NOTES)
    results = await scripts.migrate()
    assert failures(results) == {"T0001": "MigrationOrderError"}
    assert "version 1 is not applied, and older than 2" in results[0].error
    assert changed(await scripts.migrate(out_of_order=True)) == [1]
    older.unlink()
    results = await scripts.migrate()
    assert failures(results) == {"T0001": "MigrationOrderError"}
    assert "the ledger has version 1, and there is no script of it" in results[0].error
    # One script alone says nothing of the others.
    alone = scripts.write("3_more.sql", NOTES.replace("notes", "more"))
    assert changed(await scripts.migrate(migrations=alone)) == [1]
    assert scripts.ledger("T0001") == ["1", "2", "3"]


async def test_a_wrong_script_or_version_is_told_before_anything_is_done(scripts: Scripts) -> None:
    from dbgear_airflow_provider.core.errors import MigrationError

    await scripts.provisioned(1)
    scripts.write("1_plan.sql", PLAN)
    with pytest.raises(MigrationError, match="there is no such version"):
        await scripts.migrate(to="7")
    scripts.write("2_bad.sql", "ALTER TABLE ${NOBODY}x ADD y INT;")
    with pytest.raises(MigrationError, match=r"2_bad.sql, line 2: there is no such macro"):
        await scripts.migrate()
    assert scripts.ledger("T0001") == []


@isolations
async def test_a_tenant_that_others_made_gets_a_baseline(scripts: Scripts, isolation: str) -> None:
    ids = await scripts.provisioned(2, isolation)
    scripts.write("1_plan.sql", "SELECT no_such_function();")
    scripts.write("2_notes.sql", NOTES)
    for tenant_id in ids:
        scripts.query(tenant_id, "DROP TABLE {dbgear_migrations}")
    assert failures(await scripts.migrate()) == dict.fromkeys(ids, "NotProvisionedError")
    dry = await scripts.baseline("1", dry_run=True)
    assert "CREATE TABLE" in dry[0].details["instances"]["main"]["statements"][0]
    assert changed(await scripts.baseline("1")) == [1, 1]
    assert changed(await scripts.baseline("1")) == [0, 0]
    assert failures(await scripts.baseline("2")) == dict.fromkeys(ids, "MigrationOrderError")
    assert changed(await scripts.migrate()) == [1, 1]
    assert scripts.ledger("T0001") == ["2", "baseline 1"]
    assert changed(await scripts.migrate()) == [0, 0]
    assert failures(await scripts.undo("0")) == dict.fromkeys(ids, "MigrationOrderError")


@isolations
async def test_what_dbmate_has_applied_is_taken_over_when_asked(scripts: Scripts, isolation: str) -> None:
    ids = await scripts.provisioned(2, isolation)
    scripts.write("1_plan.sql", PLAN)
    scripts.write("2_notes.sql", NOTES)
    for tenant_id in ids:
        scripts.query(tenant_id, "CREATE TABLE {schema_migrations} (version VARCHAR(128) PRIMARY KEY)")
        scripts.query(tenant_id, "INSERT INTO {schema_migrations} VALUES ('1')")
        scripts.query(tenant_id, "ALTER TABLE {customers} ADD COLUMN plan VARCHAR(20)")
    assert failures(await scripts.migrate()) == dict.fromkeys(ids, "StatementError")
    (dry, _) = await scripts.migrate(adopt="dbmate", dry_run=True)
    assert dry.details["instances"]["main"]["versions"] == ["2"]
    assert changed(await scripts.migrate(adopt="dbmate")) == [1, 1]
    assert scripts.ledger("T0002") == ["1", "2"]
    assert changed(await scripts.migrate()) == [0, 0]


async def test_what_a_script_sets_ends_with_it(scripts: Scripts) -> None:
    await scripts.provisioned(6)
    mine = "SET sql_mode = '';" if scripts.is_mysql else "SET lock_timeout = 7000; SET search_path = pg_catalog;"
    path = scripts.write("1_a.sql", PLAN, "CREATE TEMPORARY TABLE scratch (x INT);", mine)
    assert failures(await scripts.migrate(parallel_limit=1)) == {}
    path.unlink()
    async with scripts.fleet.engine() as engine:
        path.write_text("-- migrate:up\n" + "\n".join([PLAN, "CREATE TEMPORARY TABLE scratch (x INT);", mine]) + "\n")
        scripts.write("2_b.sql", NOTES)
        await engine.bulk_migrate_tenants({}, scripts.folder, dry_run=False, parallel_limit=1)
        async with engine.servers["main"].session(scripts.fleet.database) as session:
            asked = "SELECT @@sql_mode <> ''" if scripts.is_mysql else "SELECT current_setting('lock_timeout') = '0'"
            assert await session.select(asked) == [(True,)]
    assert scripts.columns("T0006", "notes") == ["id"]


@isolations
async def test_an_instance_whose_template_says_a_version_starts_with_that_baseline(
    scripts: Scripts, isolation: str
) -> None:
    scripts.isolation = isolation
    scripts.fleet.tenants(2, isolation=isolation)
    scripts.write("1_plan.sql", "SELECT no_such_function();")
    scripts.write("2_notes.sql", NOTES)
    async with scripts.fleet.engine() as engine:
        templates = engine.settings.templates
        versioned = [item.model_copy(update={"version": "v1"}) for item in templates.schema_templates]
        templates = templates.model_copy(update={"schema_templates": versioned})
        engine.settings = engine.settings.model_copy(update={"templates": templates})
        for _ in range(2):
            assert failures(await engine.bulk_provision_tenants({}, dry_run=False)) == {}
    assert scripts.ledger("T0002") == ["baseline 1"]
    assert changed(await scripts.migrate()) == [1, 1]
    assert scripts.ledger("T0002") == ["2", "baseline 1"]
