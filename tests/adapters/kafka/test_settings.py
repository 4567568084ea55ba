"""A kafka:// URL is understood wholly, or refused with what to write instead; secrets stay secret."""

import pytest

from evermq.adapters.address import parse
from evermq.adapters.kafka.making import check
from evermq.adapters.kafka.sender import Sender
from evermq.adapters.kafka.settings import Settings
from evermq.errors import Misconfigured
from evermq.traits import Durable


def settings_of(query: str, hosts: str = "h1:1,h2") -> Settings:
    return Settings.of(parse(f"kafka://{hosts}/topic?{query}" if query else f"kafka://{hosts}/topic"))


def test_hosts_get_the_default_port() -> None:
    assert settings_of("").bootstrap == "h1:1,h2:9092"
    assert settings_of("", hosts="[::1]:7,b").bootstrap == "[::1]:7,b:9092"


def test_dotted_settings_reach_both_drivers() -> None:
    settings = settings_of("client.id=shop&client.rack=dc1&group_prefix=team-")
    assert settings.aiokafka["client_id"] == "shop"
    consumer = settings.consumer("billing", "orders")
    assert (consumer["client.id"], consumer["client.rack"], consumer["group.id"]) == ("shop", "dc1", "team-billing")


def test_class_is_required_as_over_other_engines() -> None:
    assert settings_of("").required is Durable.MEMORY
    assert settings_of("require=replicated").required is Durable.REPLICATED


def test_user_means_scram_over_tls() -> None:
    settings = settings_of("username=app&password=env:HOME")
    assert settings.librdkafka["security.protocol"] == "SASL_SSL"
    assert settings.librdkafka["sasl.mechanism"] == "SCRAM-SHA-512"
    assert settings.aiokafka["sasl_plain_username"] == "app"


def test_secret_is_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_PASSWORD", "hunter2")
    settings = settings_of("sasl.username=app&sasl.password=env:BROKER_PASSWORD")
    assert settings.librdkafka["sasl.password"] == "hunter2"
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("lanes=0", "lanes"),
        ("lanes=four", "lanes"),
        ("window=-1", "window"),
        ("replica=3", "did you mean replicas"),
        ("session.timeout=3", "did you mean session.timeout.ms"),
        ("acks=1", "all"),
        ("enable.auto.commit=true", "enable.auto.commit"),
        ("ssl.endpoint.identification.algorithm=none", "https"),
        ("password=hunter2", "env:NAME"),
        ("sasl.password=hunter2", "env:NAME"),
        ("require=everything", "require"),
        ("security.protocol=bogus", "security.protocol = 'bogus'"),
        ("sasl.mechanism=BOGUS", "sasl.mechanism = 'BOGUS'"),
        ("username=app", "without a password"),
        ("password=env:HOME", "username=NAME"),
        ("security.protocol=SASL_PLAINTEXT", "username=NAME"),
    ],
)
def test_wrong_option_is_refused(query: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=said) as raised:
        settings_of(query)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "query",
    [
        "session.timeout.ms=abc",
        "group.protocol=bogus",
        "isolation.level=x",
        "max.poll.interval.ms=1",
        "broker.address.family=x",
        "ssl.ca.location=/nonexistent",
    ],
)
def test_setting_that_the_driver_does_not_take_is_told_by_its_name(query: str) -> None:
    with pytest.raises(Misconfigured, match=query.partition("=")[0]):
        check(settings_of(query))


def test_settings_that_are_right_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_PASSWORD", "hunter2")
    login = "username=app&password=env:BROKER_PASSWORD"
    for query in (
        "",
        "group.protocol=consumer",
        login,
        f"{login}&security.protocol=sasl_plaintext&sasl.mechanism=PLAIN",
    ):
        check(settings_of(query))


async def test_client_that_sends_says_which_setting_it_does_not_take() -> None:
    with pytest.raises(Misconfigured, match="ssl"):
        Sender(Settings(bootstrap="h:1", dotted={"security.protocol": "SSL", "ssl.ca.location": "/nowhere"}))
    with pytest.raises(Misconfigured, match="security_protocol"):
        Sender(Settings(bootstrap="h:1", dotted={"security.protocol": "bogus"}))


def test_wrong_ca_file_is_told() -> None:
    with pytest.raises(Misconfigured, match=r"ssl\.ca\.location"):
        _ = settings_of("ssl.ca.location=/nowhere/ca.pem").aiokafka


def test_process_that_reads_two_topics_is_a_member_of_its_own_in_each() -> None:
    """By one name the second would take the lanes of the first for its own, and end it."""
    settings = Settings.of(parse("kafka://a/orders?group.instance.id=host-1"))
    names = [settings.consumer("billing", topic)["group.instance.id"] for topic in ("orders", "returns")]
    assert names == ["host-1-orders", "host-1-returns"]
    assert "group.instance.id" not in Settings.of(parse("kafka://a/orders")).consumer("billing", "orders")
