"""How servers come onto a machine: packages of Debian, or jars of Maven Central in a cache outside the checkout."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from evermq.drills.engines.engine import Missing

__all__ = ["cache", "debian", "jars", "java", "version_told"]

_NO_START = Path("/usr/sbin/policy-rc.d")
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"


def cache() -> Path:
    """Where downloads are kept: $EVERMQ_CACHE, or ~/.cache/evermq."""
    named = os.environ.get("EVERMQ_CACHE")
    path = Path(named) if named else Path.home() / ".cache" / "evermq"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _alone() -> Iterator[None]:
    """One process installs at a time; the others find what it installed."""
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def debian(program: str, package: str) -> str:
    """The path of a program, which comes with a package of Debian; root installs it where it is missing.

    Raises Missing.
    """
    if not _which(program) and os.geteuid() == 0 and shutil.which("apt-get"):
        with _alone():
            if not _which(program):
                print(f"installing {package} from Debian", file=sys.stderr, flush=True)
                _apt(package)
    path = _which(program)
    if not path:
        raise Missing(f"{program} is missing: apt-get install {package}")
    return path


def _which(program: str) -> str | None:
    servers = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # Debian leaves these out of any PATH
    beside = os.pathsep.join(["/usr/sbin", "/usr/local/sbin", *map(str, servers)])
    return shutil.which(program) or shutil.which(program, path=beside)


def version_told(program: str, *arguments: str) -> str:
    """The first number with a dot in it that a program says of a version; empty where there is none."""
    path = _which(program)
    said = _quiet([path, *arguments]).stdout if path else ""
    found = re.search(r"\d+(\.\d+)+", said)
    return found.group() if found else ""


def _apt(package: str) -> None:
    """Install a package; its own service is not started."""
    forbid = not _NO_START.exists()
    if forbid:
        _NO_START.write_text("#!/bin/sh\nexit 101\n")
        _NO_START.chmod(0o755)
    try:
        install = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", package]
        done = _quiet(install)
        if done.returncode:  # perhaps the lists are old, or were never fetched
            _quiet(["apt-get", "-qq", "update"])
            done = _quiet(install)
        if done.returncode:
            raise Missing(f"{package} cannot be installed: {done.stderr.strip()[-500:]}")
    finally:
        if forbid:
            _NO_START.unlink()


def _quiet(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def java() -> str:
    """A Java of version 17 or later. Raises Missing."""
    home = os.environ.get("JAVA_HOME")
    program = f"{home}/bin/java" if home else debian("java", "openjdk-17-jre-headless")
    try:
        said = _quiet([program, "-version"]).stderr
        major = int(said.partition('version "')[2].split(".")[0].split('"')[0] or 0)
    except OSError as error:
        raise Missing(f"{program} cannot be run ({error.strerror}): set JAVA_HOME to a Java 17") from error
    if major < 17:
        raise Missing(f"{program} is Java {major}: Java 17 or later is needed, set JAVA_HOME")
    return program


def jars(name: str, artifacts: Sequence[str], pins: Mapping[str, str]) -> Path:
    """The directory of the jars of some artifacts and all that they need at run time.

    name: with the version, of the directory in the cache. artifacts: `group:artifact:version`; a `-group:artifact`
    behind one leaves that out of what it needs. pins: SHA-256 of the jars that matter most; Maven itself checks every
    download against the checksum of the repository. Raises Missing.
    """
    directory = cache() / name
    if not (directory / "pom.xml").exists() or (directory / "pom.xml").read_text() != _pom(artifacts):
        with _alone():
            _resolve(directory, artifacts)
    for jar, digest in pins.items():
        path = directory / jar
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing"
        if found != digest:
            raise Missing(f"{path} is not the one it should be (SHA-256 {found}): remove {directory} and try again")
    return directory


def _resolve(directory: Path, artifacts: Sequence[str]) -> None:
    maven = shutil.which("mvn")
    if not maven:
        raise Missing("mvn is missing: apt-get install maven")
    print(f"fetching {directory.name} from Maven Central", file=sys.stderr, flush=True)
    new = directory.with_name(f"{directory.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    pom = new / "pom.xml"
    pom.write_text(_pom(artifacts))
    fetch = [maven, "-B", "-q", "-C", "-f", str(pom), _COPY, f"-DoutputDirectory={new}", "-DincludeScope=runtime"]
    done = _quiet(fetch)
    if done.returncode:
        raise Missing(f"{directory.name} cannot be fetched: {(done.stdout + done.stderr).strip()[-800:]}")
    shutil.rmtree(directory, ignore_errors=True)
    new.rename(directory)


def _pom(artifacts: Sequence[str]) -> str:
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>evermq</groupId><artifactId>engine</artifactId><version>1</version><packaging>pom</packaging>\n"
        f"<dependencies>\n{''.join(map(_dependency, artifacts))}</dependencies></project>\n"
    )


def _dependency(artifact: str) -> str:
    wanted, _, excluded = artifact.partition(" -")
    group, name, version = wanted.split(":")
    without = ""
    if excluded:
        left_group, left_name = excluded.split(":")
        without = f"<groupId>{left_group}</groupId><artifactId>{left_name}</artifactId>"
        without = f"<exclusions><exclusion>{without}</exclusion></exclusions>"
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>"
        f"<version>{version}</version>{without}</dependency>\n"
    )
