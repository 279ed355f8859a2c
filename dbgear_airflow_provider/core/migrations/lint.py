"""Lint: what scripts would destroy, rewrite or lock, told before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy.engine import Dialect

from ..isolation import Place
from ..schema.features import features
from ..tenants import TenantInfo
from .folder import MigrationSet
from .grammar import Source, grammar, scan
from .macros import Names
from .rules import RULES, Severity
from .script import Migration, Section, Statement
from .sections import Allow
from .squawk import SYNTAX_ERROR, squawk
from .targets import Target, targets
from .trees import found_in_tree, parsed
from .words import alter_actions, found_in, found_on_mysql, found_on_postgres, head_is, is_unnamed

_DML = ("INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "MERGE")
# Of which nothing is asked that takes a parser.
_NO_TABLES = ("CALL", "SET", "ANALYZE", "CHECK")
_DDL = ("CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE")
_PREFIX, _SCHEMA, _DATABASE = "lint_prefix_", "lint_schema", "lint_database"
_OWN = {_SCHEMA, _DATABASE}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What lint has found. file, line: where. statement: as written; "" where it is about none.

    severity: `allowed` where the script overrides the rule; `reason` is then the one that it gives.
    """

    file: str
    line: int
    rule: str
    severity: Severity
    text: str
    statement: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """What the scripts will be run on. prefixed: there are tenants of isolation `table`. version: such as "16.2"."""

    dialect: Dialect
    prefixed: bool = False
    version: str | None = None


def lint(migrations: MigrationSet, facts: ServerFacts) -> list[Finding]:
    """Return what is wrong with scripts, in the order of versions and lines. No server is asked.

    It runs a program for each section on PostgreSQL, about 30 ms each: async code calls it in a thread.

    Raises UnsupportedError where a linter that is needed is not installed.
    """
    names = _names({name: f"lint_{name.lower()}" for name in migrations.macros})
    return [finding for migration in migrations.migrations for finding in _of_migration(migration, facts, names)]


def _of_migration(migration: Migration, facts: ServerFacts, names: Names) -> list[Finding]:
    found: list[Finding] = []
    for section in migration.sections:
        section_lint = _SectionLint(section=section, facts=facts, names=names, file=str(migration.file))
        found += section_lint.findings()
    return sorted(found, key=lambda item: item.line)


@dataclass(kw_only=True)
class _SectionLint:
    section: Section
    facts: ServerFacts
    names: Names
    file: str
    used: set[int] = field(default_factory=set)

    def findings(self) -> list[Finding]:
        texts = [statement.sql(self.names) for statement in self.section.statements]
        found: list[Finding] = []
        for statement, text in zip(self.section.statements, texts, strict=True):
            rules = dict.fromkeys(self._rules(statement, text))
            found += [self._finding(rule, statement, statement.line, RULES[rule].text) for rule in rules]
        if grammar(self.facts.dialect).squawk:
            known = {(item.rule, item.statement) for item in found}
            found += (item for item in self._by_squawk(texts) if (item.rule, item.statement) not in known)
        else:
            found += self._mixed()
        return list(dict.fromkeys([*found, *self._unused()]))

    def _rules(self, statement: Statement, text: str) -> Iterator[str]:
        source = Source(text=text, file=self.file, grammar=grammar(self.facts.dialect), line=statement.line)
        tokens = scan(source).tokens
        words = [token.word for token in tokens]
        found = list(found_in(source, tokens))
        if source.grammar.squawk:
            found += found_on_postgres(words, transaction=self.section.transaction)
            found += [] if self.section.transaction else _unnamed(words)
        else:
            found += found_on_mysql(words)
        named = list(targets(source, tokens))
        for target in named:
            found += self._of_target(target)
        tree = parsed(text, features(self.facts.dialect).grammar)
        if tree is not None:
            found += found_in_tree(tree, _OWN, _PREFIX if self.facts.prefixed else None)
        elif not (found or named or words[0] in _NO_TABLES or (source.grammar.squawk and words[0] not in _DML)):
            found.append("not-parsed")
        return iter(found)

    def _of_target(self, target: Target) -> Iterator[str]:
        facts = features(self.facts.dialect)
        if target.schema is not None and target.schema not in _OWN:
            yield "other-schema"
        of_table = {
            "INDEX": facts.index_names == "of the table",
            "CONSTRAINT": facts.constraint_names == "of the table",
            "TRIGGER": facts.trigger_of_table,
        }.get(target.kind, False)
        if self.facts.prefixed and not of_table and not target.name.startswith(_PREFIX):
            yield "no-prefix"

    def _by_squawk(self, texts: Sequence[str]) -> Iterator[Finding]:
        found = squawk(texts, transaction=self.section.transaction, version=self.facts.version)
        for item in found:
            statement = self.section.statements[item.number]
            if item.rule == SYNTAX_ERROR:
                yield self._finding("not-parsed", statement, statement.line, RULES["not-parsed"].text)
            elif item.rule in RULES:
                yield self._finding(item.rule, statement, statement.line + item.line, item.text)

    def _mixed(self) -> Iterator[Finding]:
        dml = False
        for statement in self.section.statements:
            first = statement.text.split(maxsplit=1)[0].upper()
            if first in _DDL and dml:
                yield self._finding("ddl-after-dml", statement, statement.line, RULES["ddl-after-dml"].text)
                return
            dml = dml or first in _DML

    def _finding(self, rule: str, statement: Statement, line: int, text: str) -> Finding:
        severity: Severity = RULES[rule].severity
        reason = None
        for allow in (*statement.allows, *self.section.allows):
            if allow.rule == rule:
                self.used.add(id(allow))
                severity, reason = "allowed", allow.reason
                break
        return Finding(
            file=self.file,
            line=line,
            rule=rule,
            severity=severity,
            text=text,
            statement=statement.text,
            reason=reason,
        )

    def _unused(self) -> Iterator[Finding]:
        given: list[tuple[Allow, str]] = [(allow, "") for allow in self.section.allows]
        given += [(allow, item.text) for item in self.section.statements for allow in item.allows]
        for allow, statement in given:
            if id(allow) not in self.used:
                yield Finding(
                    file=self.file,
                    line=allow.line,
                    rule="unused-allow",
                    severity=RULES["unused-allow"].severity,
                    text=f"{allow.rule}: {RULES['unused-allow'].text}",
                    statement=statement,
                )


def _unnamed(words: Sequence[str]) -> Iterator[str]:
    """Yield `unnamed-object` for what is made without a name outside of a transaction."""
    if head_is(words, ["ALTER TABLE"]) and any(map(is_unnamed, alter_actions(words))):
        yield "unnamed-object"
    elif head_is(words, ["CREATE INDEX", "CREATE UNIQUE INDEX"]):
        behind = list(words[words.index("INDEX") + 1 :])
        if [word for word in behind[:2] if word != "CONCURRENTLY"][:1] == ["ON"]:
            yield "unnamed-object"


def _names(macros: dict[str, str]) -> Names:
    """Return names that no tenant has, by which a statement's own are known."""
    moment = datetime(2000, 1, 1, tzinfo=UTC)
    tenant = TenantInfo(
        tenant_id="lint",
        customer_name="lint",
        customer_code="lint",
        region="lint",
        tier="basic",
        status="active",
        created_at=moment,
        updated_at=moment,
        isolation_strategy="table",
    )
    place = Place(target="lint", isolation="table", database=_DATABASE, schema=_SCHEMA, prefix=_PREFIX)
    return Names(place, tenant, "lint", name_macros=lambda: macros)
