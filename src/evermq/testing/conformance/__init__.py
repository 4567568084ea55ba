"""The suite that every queue passes: what the port promises, verb by verb, gated by the declared traits.

With pytest and pytest-asyncio, for a queue of your own:

    @asynccontextmanager
    async def open_mine(topic: str) -> AsyncIterator[Opened]:
        queue = await MyQueue.connect(topic)
        yield Opened(queue)
        await queue.close()

    MINE = Subject("mine", open_mine, declared(open_mine))

    @pytest.mark.parametrize("case", cases([MINE]), ids=str)
    async def test_conformance(case: Case) -> None:
        await case.run()

A check of something that the traits do not promise is not in `cases`; a queue that promises more than it keeps fails.
"""

from evermq.testing.conformance.chapter import Check
from evermq.testing.conformance.subject import GROUPS, Open, Opened, Subject, declared
from evermq.testing.conformance.suite import CHECKS, Case, cases

__all__ = ["CHECKS", "GROUPS", "Case", "Check", "Open", "Opened", "Subject", "cases", "declared"]
