"""Where in a TOML text a key stands, for messages: an approximation that rather says nothing than something wrong."""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.\"'-]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"\s*(?:\"([^\"]*)\"|'([^']*)'|([\w-]+))\s*[=.]")


class Layout:
    """The lines of a TOML text. Lines count from 1."""

    def __init__(self, text: str) -> None:
        self._lines: dict[tuple[str, int, str], int] = {}
        if '"""' in text or "'''" in text:
            return  # strings over several lines look like anything
        table, counts, number = "", {"": 1}, 0
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                table = header[2].strip("\"'")
                above = table.rpartition(".")[0]
                # A table in another belongs to the one above it, whether that is the first or the fifth.
                counts[table] = counts.get(above, 1) if above else counts.get(table, 0) + 1
                self._lines.setdefault((table, counts[table], ""), number)
            elif key := _KEY.match(line):
                name = next(part for part in key.groups() if part is not None)
                self._lines.setdefault((table, counts[table], name), number)

    def line(self, table: str, number: int = 1, key: str = "") -> int | None:
        """Where `key` stands in the `number`th table of a name ("" is the file's top), or where that table begins."""
        found = self._lines.get((table, number, key))
        if found is None and table:
            found = self._lines.get((table, number, "")) or self._lines.get(("", 1, table))
        return found
