"""SECURITY.md names tests that exist, and what it says of the settings is so."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess

from tests.support.stages import ROOT, clean_environment

PACKAGE = ROOT / "src" / "minimal_llm"


def test_the_tests_that_it_names_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8")))
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py")]
    defined = {name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)}
    assert named
    assert named - defined == set()


def test_dvc_reports_nothing_and_asks_for_no_updates() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / ".dvc" / "config", encoding="utf-8")
    assert not config.getboolean("core", "analytics")
    assert not config.getboolean("core", "check_update")
    assert config.getboolean("studio", "offline")


def test_pytorch_files_are_read_without_running_code() -> None:
    """What ruff's rules do not look at, outside of its preview."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("torch.load"):
                assert "weights_only=True" in ast.unparse(node), file
            assert not (isinstance(node, ast.keyword) and node.arg == "allow_pickle"), file


def test_onnx_runtime_is_imported_only_after_its_telemetry_is_switched_off() -> None:
    for folder in ("src", "benchmarks", "scripts", "stages"):
        for file in (ROOT / folder).rglob("*.py"):
            before, found, _ = file.read_text(encoding="utf-8").partition("\nimport onnxruntime\n")
            assert not found or "ORT_DISABLE_TELEMETRY" in before, file


def test_dvc_keeps_its_pickles_where_only_their_owner_writes() -> None:
    """By default in /var/tmp/dvc, which everybody can write to: whoever changes them runs code as the next user."""
    shown = subprocess.run(
        ["make", "--eval", "shown:;@echo $$DVC_SITE_CACHE_DIR", "shown"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == str(ROOT / ".dvc" / "tmp" / "site")
