"""Progress in a real MariaDB: the suite, handlers' own transactions, a server that dies."""

import asyncio
import getpass
import subprocess
from pathlib import Path

import pytest
from tests.progress.mishaps import commit_alone, leave, outlast, refuse_long_names
from tests.progress.shop import die, drill, outlive, overlap, pay, pay_late, share, stand_still, write_beside

from evermq.drills.engines.engine import Engine
from evermq.errors import Denied
from evermq.progress.sql import SqlProgress
from evermq.testing.progressing import CHECKS, SILENT_MS, check


@pytest.mark.parametrize("name", CHECKS)
async def test_progress_in_mariadb_conforms(name: str, mariadb_server: Engine, topic: str) -> None:
    await check(name, lambda clock: SqlProgress(mariadb_server.url(), topic, silent_ms_max=SILENT_MS, clock=clock))


async def test_effect_and_mark_share_the_transaction_of_the_handler(mariadb_server: Engine, topic: str) -> None:
    await pay(mariadb_server.url().replace("mariadb:", "mariadb+asyncmy:"), topic)


@pytest.mark.parametrize("loses_lane", [False, True])
async def test_handler_that_waited_for_its_pool_does_not_settle_what_was_handed_out_again(
    loses_lane: bool, mariadb_server: Engine, topic: str
) -> None:
    await pay_late(mariadb_server.url().replace("mariadb:", "mariadb+asyncmy:"), topic, loses_lane=loses_lane)


async def test_what_is_settled_is_seen_while_its_mark_is_taken_away(
    mariadb_server: Engine, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await overlap(mariadb_server.url().replace("mariadb:", "mariadb+asyncmy:"), topic, monkeypatch)


async def test_what_is_settled_is_written_while_a_handler_of_the_stream_is_slow(
    mariadb_server: Engine, topic: str
) -> None:
    await write_beside(mariadb_server.url().replace("mariadb:", "mariadb+asyncmy:"), topic)


async def test_slow_handler_stops_no_other_lane_and_none_of_its_own_lane(mariadb_server: Engine, topic: str) -> None:
    await share(mariadb_server.url().replace("mariadb:", "mariadb+asyncmy:"), topic)


async def test_server_that_stands_still_is_not_waited_for(mariadb_server: Engine, topic: str) -> None:
    await stand_still(mariadb_server, topic)


async def test_it_goes_on_after_the_server_died(mariadb_server: Engine, topic: str) -> None:
    await die(mariadb_server, topic)


@pytest.mark.parametrize("change", [("evermq@", "evermq:wrong@"), ("evermq@", "nobody:wrong@")])
async def test_wrong_user_or_password_is_said(change: tuple[str, str], mariadb_server: Engine, topic: str) -> None:
    progress = SqlProgress(mariadb_server.url().replace(*change), topic)
    with pytest.raises(Denied, match=r"progress: .*Access denied"):
        await progress.join("g")
    await progress.close()


async def test_effects_happen_once_while_consumers_and_the_server_die(
    mariadb_server: Engine, tmp_path: Path, topic: str
) -> None:
    await outlive(mariadb_server, mariadb_server.url(), tmp_path)


async def test_drill_is_judged_there_and_leaves_nothing(mariadb_server: Engine, tmp_path: Path) -> None:
    await drill(mariadb_server, tmp_path)


async def test_session_that_commits_each_statement_is_refused(mariadb_server: Engine, topic: str) -> None:
    await commit_alone(mariadb_server.url().replace("mariadb:", "mariadb+asyncmy:"), topic)


async def test_server_that_is_away_brings_no_message_among_the_dead_letters(mariadb_server: Engine, topic: str) -> None:
    await outlast(mariadb_server, topic)


async def test_name_that_is_too_long_is_refused(mariadb_server: Engine) -> None:
    await refuse_long_names(mariadb_server.url())


async def test_server_that_became_read_only_is_left(mariadb_server: Engine, topic: str) -> None:
    socket = next(mariadb_server.directory.rglob("socket"))
    command = ["mariadb", "--no-defaults", f"--socket={socket}", f"--user={getpass.getuser()}", "--execute"]

    async def read_only(is_set: bool) -> None:
        await asyncio.to_thread(subprocess.run, [*command, f"SET GLOBAL read_only = {int(is_set)}"], check=True)

    await leave(mariadb_server, topic, "SELECT connection_id()", "", read_only)
