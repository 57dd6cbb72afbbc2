"""What DVC keeps, damaged on the disk: found by its hash, deleted, restored or made again; and a damaged dvc.lock."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random

import pytest

from tests.support.campaign import Count
from tests.support.clone import Clone, needs_venv
from tests.support.disturbed_runs import read_lock

pytestmark = needs_venv

AREA = "Damaged files"
CACHE = Path(".dvc/cache/files/md5")
RESULTS = ("best_model.pt", "final_model.pt", "training_metrics.json", "corpus_bilingual.txt", "corpus_manifest.json")


def cached(md5: str) -> Path:
    return CACHE / md5[:2] / md5[2:]


def kept_by_dvc(clone: Clone) -> dict[Path, str]:
    """The MD5 of each file in the clone that DVC keeps a copy of."""
    outs = {out["path"]: str(out["md5"]) for stage in read_lock(clone)["stages"].values() for out in stage["outs"]}
    files = {Path("data") / name: outs[f"data/{name}"] for name in RESULTS}
    tokens = json.loads((clone.folder / cached(outs["data/tokens"])).read_text(encoding="utf-8"))
    return files | {Path("data/tokens") / entry["relpath"]: entry["md5"] for entry in tokens}


def rot(path: Path, random: Random) -> None:
    """Flip a bit as a failing disk does: nothing else about the file changes."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.unlink()  # the clones of these tests share the files of the cache by hard links
    path.write_bytes(bytes(content))
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("rounds", [pytest.param(1, id="once"), pytest.param(20, id="often", marks=pytest.mark.long)])
def test_a_bit_that_flips_in_a_result_or_in_its_copy_in_the_cache_is_found_and_mended(
    experimental: Clone, random: Random, count: Count, rounds: int
) -> None:
    files = kept_by_dvc(experimental)
    for _ in range(rounds):
        name, md5 = random.choice(sorted(files.items()))
        places = random.choice([[name], [cached(md5)], [name, cached(md5)]])
        whole = (experimental.folder / name).read_bytes()
        for place in places:
            rot(experimental.folder / place, random)
        printed = experimental.run("make", "train")
        assert all(f"Deleted {place}: not the content that dvc.lock records" in printed for place in places)
        assert printed.count("Deleted ") == len(places)
        assert (experimental.folder / name).read_bytes() == whole
        assert (experimental.folder / cached(md5)).read_bytes() == whole
        assert "up to date" in experimental.run("dvc", "status")
    count(
        AREA,
        "a flipped bit in a result, in its copy in DVC's cache, or both",
        "make train makes it whole again",
        rounds,
    )


def test_a_damaged_record_of_dvc_is_told_with_the_command_that_restores_it(experimental: Clone, count: Count) -> None:
    lock = experimental.folder / "dvc.lock"
    whole = lock.read_bytes()
    damages = (whole + b"\0", b"\x89PNG\r\n\x1a\n\0\0", whole[: whole.index(b"md5: ") + 3] + b"\n: [", b"a: b: c\n")
    for damaged in damages:
        lock.write_bytes(damaged)
        printed = experimental.run("make", "train", code=2)
        assert "dvc.lock is damaged: " in printed
        assert "git checkout dvc.lock, or delete it; then: make train" in printed
        assert "Running stage" not in printed
        assert lock.read_bytes() == damaged
    lock.write_bytes(whole)
    assert "Nothing to do" in experimental.run("make", "train")
    count(AREA, "dvc.lock damaged", "told before anything runs, with the command that restores it", len(damages))
