"""Which addresses `make share` accepts, and what it says of the others."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest

from minimal_llm.common.errors import ConfigurationError, Interrupted
from minimal_llm.experiments import share as share_module
from minimal_llm.experiments.share import checked_remote


def test_a_folder_becomes_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    assert checked_remote("../new store", Path.cwd()) == str(tmp_path / "new store")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert checked_remote("~/store", Path.cwd()) == str(tmp_path / "store")


@pytest.mark.parametrize("given", ["ssh://user@host/srv/x", "ssh://user@host:2222/x", "s3://bucket", "s3://bucket/a/b"])
def test_addresses_are_taken_as_they_are(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert checked_remote(given, tmp_path) == given


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("user@host:/srv/x", "ssh://user@host/srv/x"),
        ("ssh://user:secret@host/x", "password"),
        ("https://user:secret@host/x", "password"),
        ("ssh://host", "ssh:// needs a host and a path"),
        ("ssh:///x", "ssh:// needs a host and a path"),
        ("s3://", "s3:// needs a bucket"),
        ("gs://bucket/x", "gs://"),
        ("data/store", "inside this repository"),
        (".", "inside this repository"),
        ("params.yaml", "inside this repository"),
        ("/etc/hostname", "/etc/hostname is not a folder that you can write to"),
        ("/nowhere/at/all", "mkdir -p /nowhere/at"),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_do(given: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(ConfigurationError) as raised:
        checked_remote(given, Path.cwd())
    assert told in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_missing_plugin_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError) as raised:
        checked_remote("s3://bucket/x", Path.cwd())
    assert "dvc-s3" in raised.value.message
    assert "pip install -c requirements.txt 'dvc[s3]==" in raised.value.remedy


def test_where_the_pipeline_never_ran_there_is_nothing_to_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(share_module, "output_of", lambda *_: "{}")
    with pytest.raises(ConfigurationError, match="the pipeline has not been run") as raised:
        share_module.share("")
    assert raised.value.remedy == "make train"


def test_ctrl_c_and_a_failed_push_say_that_the_same_command_sends_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "dvc.lock").write_text("stages: {download: {}}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    answers = {"data": "{}", "config": "core.remote=share\nremote.share.url=/somewhere"}
    monkeypatch.setattr(share_module, "output_of", lambda _dvc, command, *_: answers[command])
    monkeypatch.setattr(share_module, "git", lambda *_: "")
    failed = subprocess.CompletedProcess("dvc", 255)
    for run, error in ((interrupted, Interrupted), (lambda *_, **__: failed, ConfigurationError)):
        monkeypatch.setattr(subprocess, "run", run)
        with pytest.raises(error, match="the same command again sends the rest"):
            share_module.share("")
