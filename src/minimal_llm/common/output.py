"""stdout and stderr of programs that run for hours: in order, and no reason to fail once nobody reads them."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO

NOBODY_READS = (errno.EIO, errno.EPIPE)  # the terminal was closed; the program at the other end of a pipe has ended


class LastingStream:
    """Passes everything on to a stream; once nobody reads that, it goes to /dev/null. Lines are written at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # in one file, lines of stdout come before later ones of stderr

    def write(self, text: str) -> int:
        """Write text; return its length."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._leave(error)
            return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            self._stream.flush()
        except OSError as error:
            self._leave(error)

    def _leave(self, error: OSError) -> None:
        """Point the file descriptor to /dev/null, for what is still buffered and for libraries that write into it."""
        if error.errno not in NOBODY_READS:
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def outlive_readers() -> None:
    """Make stdout and stderr of this process lasting."""
    if not isinstance(sys.stdout, LastingStream):
        sys.stdout = LastingStream(sys.stdout)
    if not isinstance(sys.stderr, LastingStream):
        sys.stderr = LastingStream(sys.stderr)
