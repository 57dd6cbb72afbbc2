"""Imported first by every stage script: says what to do where this Python has no packages, instead of a traceback.

That is so with a .venv whose Python has become another version, or outside of .venv. Shapes no result, so it is no
dependency of a stage.
"""

from __future__ import annotations

import importlib.util
import platform
import sys

if missing := [name for name in ("minimal_llm", "pydantic") if importlib.util.find_spec(name) is None]:
    print(
        f"error: {missing[0]} is not installed for Python {platform.python_version()}, {sys.executable}\n"
        "  What to do: make setup (it creates .venv again if its Python is gone or has changed), then use make, or\n"
        "  . .venv/bin/activate",
        file=sys.stderr,
    )
    sys.exit(1)
