"""How servers come onto a machine, where they cannot."""

import hashlib
import os
from pathlib import Path

import pytest

from evermq.drills.engines import packages
from evermq.drills.engines.engine import Missing


def test_program_that_is_there_is_not_installed() -> None:
    assert packages.debian("sh", "dash") in ("/bin/sh", "/usr/bin/sh")


def test_program_that_cannot_be_installed_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Missing, match="apt-get install the-package"):
        packages.debian("no-such-program", "the-package")


def test_jar_that_is_not_the_pinned_one_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVERMQ_CACHE", str(tmp_path))
    directory = tmp_path / "server-1"
    directory.mkdir()
    artifacts = ["group:server:1"]
    (directory / "pom.xml").write_text(packages._pom(artifacts))
    (directory / "server-1.jar").write_bytes(b"as published")
    pins = {"server-1.jar": hashlib.sha256(b"as published").hexdigest()}
    assert packages.jars("server-1", artifacts, pins) == directory
    (directory / "server-1.jar").write_bytes(b"something else")
    with pytest.raises(Missing, match="remove"):
        packages.jars("server-1", artifacts, pins)


def test_without_maven_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVERMQ_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Missing, match="maven"):
        packages.jars("server-1", ["group:server:1"], {})


def test_java_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(Missing, match="Java 11"):
        packages.java()
