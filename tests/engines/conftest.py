"""Real servers as fixtures: `NAME_server` for every name of `evermq dev` (`redis_server`, `kafka_three_server`).

A server is started once and shared; before each test it is healed, so a test may kill and freeze as it likes, but must
leave no topic that disturbs others: `topic` gives a name of its own. Name the file test_ENGINE_….py: then all tests
of that engine share one server (see tests/conftest.py).
"""

import uuid
from collections.abc import Callable, Iterator

import pytest
from tests.needed import needed

from evermq.drills.engines.catalog import CATALOG
from evermq.drills.engines.engine import Engine

# Minutes to start: `make chaos`.
CLUSTERS = {"kafka-three", "kafka-linked", "rabbitmq-three", "rocketmq-three", "rocketmq-secured"}
START_S = 400  # of the slowest cluster on a machine that is busy, and of the test itself
FIXTURES = {f"{name.replace('-', '_')}_server": name for name in CATALOG}


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        servers = {FIXTURES[name] for name in FIXTURES.keys() & set(getattr(item, "fixturenames", ()))}
        if servers & CLUSTERS:
            item.add_marker(pytest.mark.chaos)
        if servers:
            item.add_marker(pytest.mark.engine)
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(START_S))


def started(engine: Callable[[], Engine]) -> Iterator[Engine]:
    with needed():
        server = engine().start()
    yield server
    server.stop()


def started_fixture(name: str) -> Callable[[], Iterator[Engine]]:
    engine = CATALOG[name]

    @pytest.fixture(scope="module" if engine.heavy else "session", name=f"started_{name}")
    def fixture() -> Iterator[Engine]:
        yield from started(engine)

    return fixture


def server_fixture(fixture_name: str, name: str) -> Callable[[pytest.FixtureRequest], Engine]:
    @pytest.fixture(name=fixture_name)
    def fixture(request: pytest.FixtureRequest) -> Engine:
        server: Engine = request.getfixturevalue(f"started_{name}")
        server.heal()
        return server

    return fixture


for fixture_name, name in FIXTURES.items():
    globals()[f"started_{name}"] = started_fixture(name)
    globals()[fixture_name] = server_fixture(fixture_name, name)


@pytest.fixture
def topic() -> str:
    """A name that no other test uses."""
    return f"t-{uuid.uuid4().hex[:12]}"
