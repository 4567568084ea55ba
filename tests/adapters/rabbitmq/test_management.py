"""What the management interface tells, without any server."""

from __future__ import annotations

import pytest

from evermq.adapters.rabbitmq.link import Login
from evermq.adapters.rabbitmq.management import Management
from evermq.errors import Misconfigured

LOGIN = Login([("127.0.0.1", 1)], "/", "guest", "guest", None, 60, 1_000)


@pytest.mark.parametrize("text", ["user:canary@h:15672", "http://user:canary@h,u:canary@g", "user:canary/x@h"])
def test_password_in_the_address_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(Misconfigured, match="give host:port") as caught:
        Management.of(text, LOGIN)
    assert "canary" not in str(caught.value)
