"""A terminal that a test types on."""

from __future__ import annotations

import io


class Terminal(io.StringIO):
    """Stands in for sys.stdin: a terminal on which these lines have been typed."""

    def isatty(self) -> bool:
        return True
