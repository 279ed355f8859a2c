"""What an engine cannot hold of a document: collected, and told all at once."""

from __future__ import annotations

from typing import Literal

from ..errors import DocumentError, UnsupportedError

OnUnsupported = Literal["error", "warn"]


class Problems:
    """Collects what cannot be held, while the rest is built without it."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.mistakes: list[DocumentError] = []

    def add(self, where: str, why: str) -> None:
        """Note that the object `where`, or a part of it, is left out."""
        self.found.append(f"{where}: {why}")

    def blame(self, mistake: DocumentError) -> None:
        """Note that an object is left out because the document is wrong, and can be so without it."""
        self.mistakes.append(mistake)
        self.found.append(mistake.message)

    def settle(self, policy: OnUnsupported) -> list[str]:
        """Return what was found, as warnings.

        Where the policy is `error`, raises the first mistake, or else one UnsupportedError for all that was found.
        """
        if self.mistakes and policy == "error":
            raise self.mistakes[0]
        if self.found and policy == "error":
            raise UnsupportedError("; ".join(self.found), problems=self.found)
        return self.found
