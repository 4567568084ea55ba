"""Progress in a real PostgreSQL: the suite, handlers' own transactions, a server that dies."""

import re
from pathlib import Path

import pytest
from tests.progress.mishaps import commit_alone, leave, outlast, refuse_long_names, spoil
from tests.progress.shop import die, drill, outlive, overlap, pay, pay_late, share, stand_still, write_beside

from evermq.drills.engines.engine import Engine
from evermq.errors import Denied
from evermq.progress.sql import SqlProgress
from evermq.testing.progressing import CHECKS, SILENT_MS, check


@pytest.mark.parametrize("name", CHECKS)
async def test_progress_in_postgresql_conforms(name: str, postgresql_server: Engine, topic: str) -> None:
    await check(name, lambda clock: SqlProgress(postgresql_server.url(), topic, silent_ms_max=SILENT_MS, clock=clock))


async def test_effect_and_mark_share_the_transaction_of_the_handler(postgresql_server: Engine, topic: str) -> None:
    await pay(postgresql_server.url().replace("postgresql:", "postgresql+asyncpg:"), topic)


@pytest.mark.parametrize("loses_lane", [False, True])
async def test_handler_that_waited_for_its_pool_does_not_settle_what_was_handed_out_again(
    loses_lane: bool, postgresql_server: Engine, topic: str
) -> None:
    await pay_late(postgresql_server.url().replace("postgresql:", "postgresql+asyncpg:"), topic, loses_lane=loses_lane)


async def test_what_is_settled_is_seen_while_its_mark_is_taken_away(
    postgresql_server: Engine, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await overlap(postgresql_server.url().replace("postgresql:", "postgresql+asyncpg:"), topic, monkeypatch)


async def test_what_is_settled_is_written_while_a_handler_of_the_stream_is_slow(
    postgresql_server: Engine, topic: str
) -> None:
    await write_beside(postgresql_server.url().replace("postgresql:", "postgresql+asyncpg:"), topic)


async def test_slow_handler_stops_no_other_lane_and_none_of_its_own_lane(postgresql_server: Engine, topic: str) -> None:
    await share(postgresql_server.url().replace("postgresql:", "postgresql+asyncpg:"), topic)


async def test_server_that_stands_still_is_not_waited_for(postgresql_server: Engine, topic: str) -> None:
    await stand_still(postgresql_server, topic)


async def test_it_goes_on_after_the_server_died(postgresql_server: Engine, topic: str) -> None:
    await die(postgresql_server, topic)


@pytest.mark.parametrize("change", [("//evermq", "//nobody"), ("evermq$", "nothing")])
async def test_wrong_user_or_database_is_said(change: tuple[str, str], postgresql_server: Engine, topic: str) -> None:
    progress = SqlProgress(re.sub(*change, postgresql_server.url()), topic)
    with pytest.raises(Denied, match=r"progress: .* does not exist"):
        await progress.join("g")
    await progress.close()


async def test_effects_happen_once_while_consumers_and_the_server_die(
    postgresql_server: Engine, tmp_path: Path, topic: str
) -> None:
    await outlive(postgresql_server, postgresql_server.url(), tmp_path)


async def test_drill_is_judged_there_and_leaves_nothing(postgresql_server: Engine, tmp_path: Path) -> None:
    await drill(postgresql_server, tmp_path)


async def test_session_that_commits_each_statement_is_refused(postgresql_server: Engine, topic: str) -> None:
    await commit_alone(postgresql_server.url().replace("postgresql:", "postgresql+asyncpg:"), topic)


async def test_server_that_is_away_brings_no_message_among_the_dead_letters(
    postgresql_server: Engine, topic: str
) -> None:
    await outlast(postgresql_server, topic)


async def test_name_that_is_too_long_is_refused(postgresql_server: Engine) -> None:
    await refuse_long_names(postgresql_server.url())


async def test_server_that_became_read_only_is_left(postgresql_server: Engine, topic: str) -> None:
    become = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"
    await leave(postgresql_server, topic, "SELECT pg_backend_pid()", become)


async def test_transaction_that_the_handler_ended_is_its_own_failure(postgresql_server: Engine, topic: str) -> None:
    await spoil(postgresql_server.url(), topic)
