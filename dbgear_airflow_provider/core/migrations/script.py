"""Migration scripts: what one says, statement by statement."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sqlalchemy.engine import Dialect

from ..errors import MigrationError, TemplateError
from .grammar import Scan, Source, grammar, scan
from .macros import Macros, Names, Parts, rendered
from .sections import Allow, Part, allows, parts
from .splitting import Piece, split

_EXECUTED = ("/*!", "/*M!")


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement. text: as written, without the semicolon at its end. file, line: where it begins.

    hash: sha256 of the text, in hex. allows: the lint rules that it overrides.
    """

    text: str
    file: str
    line: int
    hash: str
    parts: Parts
    allows: Sequence[Allow] = ()

    def sql(self, names: Names) -> str:
        """Return what one instance's server gets. Raises MigrationError where a macro has no value there."""
        try:
            return rendered(self.parts, names)
        except TemplateError as error:
            details = {key: error.details[key] for key in ("received", "allowed")}
            where = f"{self.file}, line {self.line}"
            raise MigrationError(str(error.details["problem"]), where=where, **details) from error


@dataclass(frozen=True, kw_only=True)
class Section:
    """What is done one way: `up` or `down`. statements: at least one. transaction: whether all run in one.

    allows: the lint rules that all its statements override.
    """

    statements: Sequence[Statement]
    transaction: bool
    allows: Sequence[Allow] = ()


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One script. version: as its file's name has it, without the v. down: None where it cannot be undone.

    checksum: sha256 in hex of its statements and how they run, whatever stands between them. text: of the whole file.
    allowed: {lint rule that something in it overrides: the reason}.
    """

    version: str
    name: str
    file: Path
    up: Section
    down: Section | None
    checksum: str
    text: str

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The version as numbers, for comparisons."""
        return version_order(self.version)

    @property
    def allowed(self) -> Mapping[str, str]:
        """The lint rules that something in the script overrides, and why."""
        return {allow.rule: allow.reason for section in self.sections for allow in _allows(section)}

    @property
    def sections(self) -> Sequence[Section]:
        """`up`, and `down` where there is one."""
        return [self.up, *([self.down] if self.down else [])]


def version_order(version: str) -> tuple[int, ...]:
    """Return a version as numbers: 2.1 and 2.1.0 are the same, and so are 1 and 001."""
    numbers = [int(number) for number in version.split(".")]
    while len(numbers) > 1 and not numbers[-1]:
        del numbers[-1]
    return tuple(numbers)


def parse_script(file: Path, text: str, *, version: str, name: str, dialect: Dialect, macros: Macros) -> Migration:
    """Return the migration that a script says. Raises MigrationError, with file and line."""
    source = Source(text=text, file=str(file), grammar=grammar(dialect))
    scanned = scan(source)
    _check_comments(source, scanned)
    sections = {side: _section(source, scanned, part, macros) for side, part in parts(source, scanned).items()}
    up, down = sections["up"], sections.get("down")
    return Migration(version=version, name=name, file=file, up=up, down=down, checksum=_checksum(sections), text=text)


def parse_query(text: str, *, where: str, dialect: Dialect) -> Statement:
    """Return a text that is one statement, which may have macros. Raises MigrationError."""
    script = parse_script(Path(where), text, version="0", name=where, dialect=dialect, macros=Macros(dialect))
    if len(script.up.statements) != 1:
        raise MigrationError("not one statement", where=where, received=text, allowed="one query")
    return script.up.statements[0]


def _section(source: Source, scanned: Scan, part: Part, macros: Macros) -> Section:
    pieces = list(split(source, scanned, part.start, part.end))
    if not pieces:
        allowed = "at least one statement; a script that cannot be undone has no migrate:down"
        raise source.error(part.marker, f"nothing to do in migrate:{part.side}", allowed)
    comments = [comment for comment in scanned.comments if part.start <= comment[0] < part.end]
    head = _head(source, part, pieces[0])
    statements = list(_statements(source, pieces, [c for c in comments if c[0] >= head], macros))
    own = allows(source, [comment for comment in comments if comment[0] < head])
    return Section(statements=statements, transaction=part.transaction, allows=own)


def _head(source: Source, part: Part, first: Piece) -> int:
    """Return where the head of a section has ended: at the last empty line before its first statement."""
    lines = source.text[part.start : first.start].split("\n")
    for number in range(len(lines) - 2, 0, -1):
        if not lines[number].strip():
            return part.start + len("\n".join(lines[:number]))
    return part.start


def _statements(
    source: Source, pieces: Sequence[Piece], comments: Sequence[tuple[int, int]], macros: Macros
) -> Iterator[Statement]:
    at = 0
    for number, piece in enumerate(pieces):
        # Those behind the last statement are its own, so that none is lost.
        last = number == len(pieces) - 1
        behind = at
        while behind < len(comments) and (last or comments[behind][0] < piece.after):
            behind += 1
        own, at = comments[at:behind], behind
        text = source.text[piece.start : piece.end]
        yield Statement(
            text=text,
            file=source.file,
            line=source.line_of(piece.start),
            hash=hashlib.sha256(text.encode()).hexdigest(),
            parts=macros.parts(source, piece.tokens),
            allows=allows(source, own),
        )


def _check_comments(source: Source, scanned: Scan) -> None:
    for start, end in scanned.comments:
        if source.text.startswith(_EXECUTED, start) and not source.grammar.nested:
            received = source.text[start:end].partition("\n")[0]
            raise source.error(start, "a comment that the server executes", "SQL without a comment around it", received)


def _checksum(sections: Mapping[str, Section]) -> str:
    lines = [
        line
        for side, section in sections.items()
        for line in (f"{side} transaction:{section.transaction}", *(item.hash for item in section.statements))
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _allows(section: Section) -> Iterator[Allow]:
    yield from section.allows
    for statement in section.statements:
        yield from statement.allows
