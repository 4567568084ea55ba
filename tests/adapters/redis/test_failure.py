"""Every error of the driver and every code of the server has a class; what nobody listed is Uncertain."""

from __future__ import annotations

import inspect

import pytest
from redis import exceptions as driver
from redis._parsers.base import BaseParser

from evermq.adapters.redis.failure import CODES, DRIVER, failure, refused
from evermq.errors import Denied, Overloaded, Unavailable, Uncertain

# createSharedObjects of server.c and the error replies of cluster.c, acl.c, sentinel.c in Redis 7.0
OF_THE_SERVER = (
    "ERR WRONGTYPE NOSCRIPT LOADING BUSY MASTERDOWN MISCONF READONLY NOAUTH OOM EXECABORT NOREPLICAS MOVED ASK "
    "TRYAGAIN CROSSSLOT CLUSTERDOWN NOPERM WRONGPASS DENIED NOPROTO UNKILLABLE INPROG "
    "NOGOODSLAVE NOMASTERLINK UNBLOCKED IOERR"
)
_NEEDS_NO_ENTRY = {"ChildDeadlockedError", "IncorrectPolicyType", "NoSuchFieldsetError"}  # fork, and features not used


def test_every_error_of_the_driver_has_a_class() -> None:
    known = {kind.__name__ for kind in DRIVER}
    raised = {name for name, kind in inspect.getmembers(driver, inspect.isclass) if issubclass(kind, Exception)}
    assert raised - known - _NEEDS_NO_ENTRY == set()


def test_every_code_that_the_driver_tells_apart_has_a_class() -> None:
    assert set(BaseParser.EXCEPTION_CLASSES) <= set(CODES)


def test_every_code_of_the_server_has_a_class() -> None:
    assert set(OF_THE_SERVER.split()) <= set(CODES)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", Overloaded),
        ("READONLY You can't write against a read only replica.", Unavailable),
        ("NOREPLICAS Not enough good replicas to write.", Unavailable),
        ("MISCONF Errors writing to the AOF file: No space left on device", Unavailable),
        ("LOADING Redis is loading the dataset in memory", Unavailable),
        ("MOVED 3999 127.0.0.1:6381", Unavailable),
        ("CLUSTERDOWN The cluster is down", Unavailable),
        ("MASTERDOWN Link with MASTER is down", Unavailable),
        ("BUSY Redis is busy running a script.", Unavailable),
        ("NOAUTH Authentication required.", Denied),
        ("NOPERM this user has no permissions to run the 'evalsha' command", Denied),
        ("ERR max number of clients reached", Unavailable),
        ("ERR something that nobody has seen", Uncertain),
        ("NEWCODE of a later version", Uncertain),
    ],
)
def test_answer_of_the_server_means(line: str, kind: type[Exception]) -> None:
    found = failure(BaseParser.parse_error(line), "there:6379")  # type: ignore[no-untyped-call]
    assert type(found) is kind
    assert "there:6379" in str(found)


def test_unlisted_error_is_uncertain() -> None:
    class Odd(Exception):
        pass

    assert type(failure(Odd("what"), "there")) is Uncertain


def test_connection_that_cannot_be_made_is_certain() -> None:
    assert type(refused(driver.ConnectionError("no route"), "there")) is Unavailable
    assert type(refused(driver.AuthenticationError("WRONGPASS"), "there")) is Denied
