"""Check that every number in a report comes from the files that it reports on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

NUMBER = re.compile(r"(?<![\w.,])[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?(?![\w])")
UNITS = (1, 100, 1e-6, 1 / 60)  # unchanged, as a percentage, bytes in MB, seconds in minutes
TEXTS = re.compile(r"^> [^\n]*|```.*?```|^<summary>Samples after.*?</details>", re.MULTILINE | re.DOTALL)


def unknown_numbers(page: str, files: Iterable[Any], counts: Iterable[int] = ()) -> list[str]:
    """Return the numbers on a page that come from none of its files (JSON, or CSV rows).

    A number is known if a value of a file, or one of `counts`, rounds to it. Samples and commands are not searched.
    """
    leaves = [leaf for file in files for leaf in _leaves(file)]
    page = TEXTS.sub("", page)
    for text in sorted({leaf for leaf in leaves if isinstance(leaf, str) and len(leaf) > 2}, key=len, reverse=True):
        page = page.replace(text, "")
    values = {float(leaf) for leaf in leaves if isinstance(leaf, int | float)} | {float(count) for count in counts}
    return [number for number in NUMBER.findall(page) if not _is_one_of(number, values)]


def _is_one_of(number: str, values: set[float]) -> bool:
    written = number.replace(",", "").lstrip("+")
    mantissa, _, exponent = written.partition("e")
    form = f".{len(mantissa.partition('.')[2])}{'e' if exponent else 'f'}"
    return any(f"{value * unit:{form}}" == written for value in values for unit in UNITS)


def _leaves(content: Any) -> Iterator[Any]:
    """Yield all values, and the numbers in their keys, such as p95 and 8_streams."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from map(int, re.findall(r"\d+", name))
            yield from _leaves(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _leaves(value)
    else:
        yield content
