"""The SQL of roles, without a server: what it hides and how it quotes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import pickle

from dbgear_airflow_provider.core.engines import MySQLServer, RoleRequest, RoleState, ServerAddress
from dbgear_airflow_provider.core.engines.mysql_catalog import grant_pattern
from dbgear_airflow_provider.core.engines.mysql_roles import native_hash
from dbgear_airflow_provider.core.engines.postgresql_roles import password_statement, verifier
from dbgear_airflow_provider.core.schema import Namespace, ObjectKey
from dbgear_airflow_provider.core.schema.ddl import executed


def test_a_statement_with_a_password_shows_none() -> None:
    statement = password_statement('"a"', "geheim")
    assert str(statement) == f"{statement}" == "ALTER ROLE \"a\" PASSWORD '***'"
    assert "SCRAM" not in repr(statement)
    assert executed(statement).startswith('ALTER ROLE "a" PASSWORD \'SCRAM-SHA-256$4096:')
    assert pickle.loads(pickle.dumps(statement)) == "ALTER ROLE \"a\" PASSWORD '***'"  # noqa: S301
    assert "geheim" not in executed(statement)


def test_the_verifier_is_that_of_the_rfc() -> None:
    """RFC 7677, section 3: the server's signature of its example comes out of what is kept."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    kept = verifier("pencil", salt)
    server_key = base64.b64decode(kept.rpartition(":")[2])
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    message = f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}"
    signature = hmac.digest(server_key, message.encode(), hashlib.sha256)
    assert base64.b64encode(signature).decode() == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_the_hash_of_mysqls_native_password() -> None:
    """https://mariadb.com/kb/en/password/"""
    assert native_hash("mariadb") == "*54958E764CE10E50764C2EECBB71D01F08549980"


def test_wildcards_of_a_grant_on_a_database_are_escaped() -> None:
    assert grant_pattern("a_b%c\\d") == "a\\_b\\%c\\\\d"


def test_mysql_8_gets_the_password_and_shows_none() -> None:
    server = MySQLServer("main", ServerAddress(host="", port=0, user="", database=""))  # MariaDB is told by the server
    request = RoleRequest(
        tenant_id="T1",
        owner="a_owner",
        login="a`_login",
        database="a_b",
        own_database=True,
        shared=False,
        namespaces=[Namespace("a_b")],
        kept=["dbgear_migrations"],
        objects=[
            ObjectKey(kind="table", schema="a_b", name="t"),
            ObjectKey(kind="procedure", schema="a_b", name="p"),
        ],
    )
    script = server.role_script(request, RoleState(existing=frozenset(), marked=frozenset()), "geheim")
    assert list(script.owning) == [
        "CREATE ROLE `a_owner`",
        "CREATE USER `a``_login`@'%' IDENTIFIED BY '***'",
        "GRANT ALL PRIVILEGES ON `a\\_b`.* TO `a_owner`",
    ]
    assert executed(script.owning[1]) == "CREATE USER `a``_login`@'%' IDENTIFIED BY 'geheim'"
    assert list(script.last) == [
        "GRANT EXECUTE ON PROCEDURE `a_b`.`p` TO `a``_login`@'%'",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE `a_b`.`t` TO `a``_login`@'%'",
    ]
