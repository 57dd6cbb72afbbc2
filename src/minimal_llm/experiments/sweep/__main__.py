"""The command line of a sweep."""

from __future__ import annotations

import os
import sys

from minimal_llm.experiments.sweep.run import main

sys.exit(main(os.environ))
