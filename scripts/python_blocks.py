"""Execute Python blocks in one namespace: the process that scripts/documents.py starts for each section.

Reads one JSON object per block from stdin: its code, its line in the document, and the files that receive its stdout
and stderr. Answers with one line of JSON on stdout: the last line of the traceback, or an empty string.
"""

from __future__ import annotations

import json
import linecache
import os
import sys
import traceback
import types


def main() -> None:
    requests, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path[0] = ""  # the working directory, as in `python -c`
    names = types.ModuleType("__main__")
    sys.modules["__main__"] = names
    for line in requests:
        request = json.loads(line)
        for target, name in ((1, "out"), (2, "err")):
            opened = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(opened, target)  # the descriptor, so that child processes of the block are included
            os.close(opened)
        print(json.dumps(execute(request["code"], request["line"], names)), file=answers, flush=True)


def execute(code: str, line: int, names: types.ModuleType) -> str:
    """Execute a block; return the last line of its traceback, or an empty string."""
    source, name = "\n" * line + code, f"<block of line {line}>"  # so that tracebacks have line numbers of the document
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        exec(compile(source, name, "exec"), names.__dict__)  # noqa: S102  # running the documents is the purpose
    except BaseException as error:  # SystemExit too: the next block needs this process
        here = error.__traceback__
        traceback.print_exception(type(error), error, here and here.tb_next)
        return traceback.format_exception_only(error)[-1].strip()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return ""


if __name__ == "__main__":
    main()
