"""Bad input at the command line: one line that names the thing and the way out, a status, and nothing is lost."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import crc32c
import pytest

EVERMQ = [sys.executable, "-m", "evermq.daemon.cli"]
READ = ("--group", "g", "--until-empty", "--idle-ms", "50")


def evermq(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*EVERMQ, *arguments], input=given, capture_output=True, timeout=110, check=False)


def must_fail(status: int, words: str, *arguments: str, given: bytes = b"x\n") -> subprocess.CompletedProcess[bytes]:
    ran = evermq(*arguments, given=given)
    said = ran.stderr.decode()
    assert ran.returncode == status, said
    assert words in said
    assert "Traceback" not in said
    return ran


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A directory in which ten messages of topic t lie."""
    directory = tmp_path / "log"
    sent = evermq("send", f"log://{directory}/t", given=b"".join(b"body %d\n" % i for i in range(10)))
    assert sent.returncode == 0, sent.stderr
    return directory


def files(directory: Path) -> dict[str, bytes]:
    """All that matters of a directory."""
    left_out = {"lock", "ballast", "socket"}
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name not in left_out}


@pytest.mark.parametrize(
    ("status", "words", "arguments"),
    [
        (2, "--count", ["read", "log:///tmp/x/t", "--group", "g", "--count", "-3"]),
        (2, "control characters", ["send", "log:///tmp/x/a\tb"]),
        (2, "not a URL", ["send", "log://[bad/t"]),
        (2, "is missing", ["topics", "log:///"]),
        (2, "is no URL", ["topics", "nonsense"]),
        (2, "write log:///host/x/t", ["send", "log://host/x/t"]),
        (2, "give 4096 to", ["send", "log:///tmp/x/t?segment_bytes=99999999999999999999"]),
        (2, "silence_ms", ["send", "log:///tmp/x/t?silence_ms=long"]),
        (2, "the smaller first", ["simulate", "--seeds", "5..1"]),
        (2, "--from", ["read", "log:///tmp/x/t", "--group", "g", "--from", "9" * 30]),
        (2, "--key-field", ["send", "log:///tmp/x/t", "--format", "json", "--key-field", "k"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_wrong_argument_is_named(status: int, words: str, arguments: list[str]) -> None:
    must_fail(status, words, *arguments)


def test_file_where_the_directory_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    must_fail(4, "it is a file", "send", f"log://{tmp_path}/file/t")
    must_fail(4, "it is a file", "send", f"log://{tmp_path}/file/below/t")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not Path("/usr/bin/setpriv").exists(), reason="setpriv (util-linux) takes root's privileges away")
def test_unreadable_directory_is_named(log: Path) -> None:
    command = (
        ["/usr/bin/setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"] if _root() else []
    )
    log.chmod(0)
    try:
        for arguments in (["send", f"log://{log}/t"], ["verify", str(log)]):
            ran = subprocess.run([*command, *EVERMQ, *arguments], input=b"x\n", capture_output=True, check=False)
            assert ran.returncode == 4
            assert b"ermission denied" in ran.stderr
            assert str(log).encode() in ran.stderr
            assert b"Traceback" not in ran.stderr
    finally:
        log.chmod(0o700)
    assert len(evermq("read", f"log://{log}/t", *READ).stdout.splitlines()) == 10


def _root() -> bool:
    return os.geteuid() == 0


def test_wrong_lines_are_named_and_the_others_are_sent(tmp_path: Path) -> None:
    lines = [
        b'{"body": "good"}',
        b"\xff\xfe binary \x00",
        b'{"body": "x", "bod": 1}',
        b'{"key": "k"}',
        b'{"body": "x", "headers": {"a": 1}}',
        b'{"body_base64": "%%"}',
        b'{"body": "x", "id": "a\\u0000b"}',
        b'{"body": "x", "id": ""}',
        b"[" * 5_000,
        b'{"body": "good too"}',
    ]
    ran = evermq("send", f"log://{tmp_path}/log/t", "--format", "json", given=b"\n".join(lines))
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 3
    assert b"Traceback" not in ran.stderr
    assert [line["detail"].partition(":")[0] for line in told if "error" in line] == [f"line {n}" for n in range(2, 10)]
    read = evermq("read", f"log://{tmp_path}/log/t", *READ)
    assert sorted(read.stdout.splitlines()) == [b"good", b"good too"]


@pytest.mark.parametrize("body", [b"1", b"null", b"true", b'{"a": "b"}', b"[1]"])
def test_body_that_is_no_text_is_named_with_what_to_write_instead(tmp_path: Path, body: bytes) -> None:
    lines = b'{"body": "1"}\n{"body": %s}\n' % body
    ran = evermq("send", f"log://{tmp_path}/log/t", "--format", "json", given=lines)
    [told] = [line for line in map(json.loads, ran.stdout.splitlines()) if "error" in line]
    assert ran.returncode == 3
    assert (told["id"], told["error"]) == (None, "BadInput")
    instead = json.dumps(json.dumps(json.loads(body), separators=(",", ":")))
    assert told["detail"] == f'line 2: body is no text: write "body": {instead}, or its bytes as body_base64'
    assert evermq("read", f"log://{tmp_path}/log/t", *READ).stdout == b"1\n"


def test_binary_standard_input_is_sent_as_it_is(tmp_path: Path) -> None:
    bodies = [bytes(range(256)).replace(b"\n", b"").replace(b"\r", b""), b"\xff" * 40, b"\x00"]
    assert evermq("send", f"log://{tmp_path}/log/t", given=b"\n".join(bodies)).returncode == 0
    assert sorted(evermq("read", f"log://{tmp_path}/log/t", *READ).stdout.split(b"\n")[:-1]) == sorted(bodies)
    told = evermq("read", f"log://{tmp_path}/log/t", "--format", "json", *READ[:1], "other", *READ[2:]).stdout
    assert sum("body_base64" in json.loads(line) for line in told.splitlines()) == 2


def test_body_over_the_limit_is_refused_and_its_neighbours_are_sent(tmp_path: Path) -> None:
    url = f"log://{tmp_path}/log/t?message_bytes_max=1000"
    ran = evermq("send", url, given=b"small\n" + b"x" * 1_001 + b"\n" + b"y" * (5 << 20) + b"\nlast\n")
    errors = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith(b"{")]
    assert ran.returncode == 3
    assert [(error["error"], error["detail"][:7]) for error in errors] == [
        ("TooLarge", "line 2:"),
        ("TooLarge", "line 3:"),
    ]
    assert sorted(evermq("read", url, *READ).stdout.split()) == [b"last", b"small"]


def test_frozen_owner_is_named(log: Path) -> None:
    url = f"log://{log}/t?silence_ms=500"
    with subprocess.Popen([*EVERMQ, "send", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdin
        assert owner.stdout
        owner.stdin.write(b"from the owner\n")
        owner.stdin.flush()
        assert owner.stdout.readline()
        owner.send_signal(signal.SIGSTOP)
        try:
            must_fail(4, f"kill -CONT {owner.pid}", "send", url)
            must_fail(4, f"kill -CONT {owner.pid}", "read", url, *READ)
        finally:
            owner.send_signal(signal.SIGCONT)
        owner.stdin.close()
        assert owner.wait(60) == 0
    assert len(evermq("read", url, *READ).stdout.splitlines()) == 11


def test_directory_deeper_than_a_socket_path_may_be_long_is_shared(tmp_path: Path) -> None:
    directory = tmp_path / "/".join(["deep" * 20] * 4)
    url = f"log://{directory}/t"
    with subprocess.Popen([*EVERMQ, "send", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdin
        assert owner.stdout
        owner.stdin.write(b"first\n")
        owner.stdin.flush()
        assert owner.stdout.readline()
        ran = evermq("send", url, given=b"second\n")
        assert ran.returncode == 0, ran.stderr
        owner.stdin.close()
        assert owner.wait(60) == 0
    assert sorted(evermq("read", url, *READ).stdout.split()) == [b"first", b"second"]


def test_directory_of_a_newer_format_is_left_alone(log: Path) -> None:
    old = files(log)
    for name in ("catalog-a", "catalog-b"):
        head, _, behind = (log / name).read_bytes().partition(b"\n")
        encoded = behind[: int(head.split()[1])].replace(b'"format": 2', b'"format": 99')
        (log / name).write_bytes(b"%08x %d\n%s\n" % (crc32c.crc32c(encoded), len(encoded), encoded))
    newer = files(log)
    assert newer != old
    for arguments in (["send", f"log://{log}/t"], ["read", f"log://{log}/t", *READ], ["topics", f"log://{log}"]):
        said = must_fail(2, "format version 99", *arguments).stderr.decode()
        assert str(log) in said
        assert "use a newer evermq" in said
    assert files(log) == newer
    assert evermq("verify", str(log)).returncode == 1


def test_catalog_that_is_lost_is_named_and_nothing_is_written_over(log: Path) -> None:
    copy = (log / "catalog-a").read_bytes()
    for name in ("catalog-a", "catalog-b"):
        (log / name).write_bytes(copy[:30] + b"?" + copy[31:])
    must_fail(2, "both damaged", "send", f"log://{log}/t")
    for name in ("catalog-a", "catalog-b"):
        (log / name).unlink()
    must_fail(2, "put one of them back", "send", f"log://{log}/t")
    (log / "catalog-b").write_bytes(copy)
    assert len(evermq("read", f"log://{log}/t", *READ).stdout.splitlines()) == 10


def test_corrupt_cursors_make_messages_come_again(log: Path) -> None:
    assert len(evermq("read", f"log://{log}/t", *READ).stdout.splitlines()) == 10
    for path in log.glob("cursors-*"):
        path.write_bytes(b"EVQC" + os.urandom(200))
    (log / "cursors-of-mine").write_text("not ours")
    (log / "segment-zzzzzzzzzzzzzzzz").write_text("not ours")
    read = evermq("read", f"log://{log}/t", *READ)
    assert (read.returncode, len(read.stdout.splitlines())) == (0, 10)


def test_corrupt_segment_is_reported_and_the_rest_is_read(log: Path) -> None:
    assert evermq("send", f"log://{log}/t", given=b"behind\n").returncode == 0
    segment = next(log.glob("segment-*"))
    raw = bytearray(segment.read_bytes())
    at = raw.index(b"body 5")
    raw[at] ^= 1
    segment.write_bytes(raw)
    report = json.loads(must_fail(1, "", "verify", str(log), "--json").stdout)
    assert not report["ok"]
    assert "bit rot" in report["problems"][0]
    assert b"PROBLEM" in evermq("verify", str(log)).stdout
    for command in ("backlog", "topics"):
        looked = evermq(command, f"log://{log}/t" if command == "backlog" else f"log://{log}")
        assert looked.returncode == 0
        assert b"not intact" in looked.stderr
    read = evermq("read", f"log://{log}/t", *READ)
    assert read.returncode == 1
    assert b"are damaged and were passed over" in read.stderr
    assert f"evermq verify {log}".encode() in read.stderr
    assert b"Traceback" not in read.stderr
    assert read.stdout.split()[-1] == b"behind"
    again = evermq("read", f"log://{log}/t", *READ)
    assert (again.returncode, again.stdout) == (0, b"")


@pytest.mark.skipif(not _root(), reason="only root may mount a small disk")
def test_full_disk_refuses_each_line_and_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)], check=True)
    try:
        url = f"log://{tmp_path}/log/t?segment_bytes=1000000"
        lines = b"".join(b"%05d%s\n" % (i, b"x" * 9_000) for i in range(600))
        ran = evermq("send", url, "--batch", "10", given=lines)
        errors = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith(b"{")]
        assert ran.returncode == 3
        assert {error["error"] for error in errors} == {"Overloaded"}
        assert "free space on the disk" in errors[0]["detail"]
        assert len(ran.stdout.splitlines()) == 600
        read = evermq("read", url, *READ)
        assert (read.returncode, len(read.stdout.splitlines())) == (0, 600 - len(errors))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_reader_of_the_output_that_goes_away_ends_the_command_quietly(log: Path) -> None:
    url = f"log://{log}/t"
    lines = b"".join(b"%d\n" % i for i in range(50_000))
    with subprocess.Popen(
        [*EVERMQ, "send", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as sent:
        assert sent.stdout
        assert sent.stdin
        assert sent.stderr
        sent.stdout.close()
        try:
            sent.stdin.write(lines)
            sent.stdin.close()
        except BrokenPipeError:
            pass
        assert sent.wait(60) == 3, "not every acknowledgement was seen"
        assert b"standard output was closed" in sent.stderr.read()
    assert evermq("send", url, given=lines).returncode == 0
    command = [*EVERMQ, "read", url, *READ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as read:
        assert read.stdout
        assert read.stderr
        assert read.stdout.readline()
        read.stdout.close()
        assert read.wait(60) == 0
        assert read.stderr.read() == b""
    assert len(evermq("read", url, *READ).stdout.splitlines()) >= 49_000


def test_configuration_that_is_wrong_is_named_with_file_table_and_key(tmp_path: Path) -> None:
    config = tmp_path / "evermq.toml"
    for text, words in [
        ('[topics.orders]\nqueue = "log:///tmp/x/t"\ngruops = ["a"]\n', "did you mean 'groups'"),
        ('[topic.orders]\nqueue = "log:///tmp/x/t"\n', "did you mean 'topics'"),
        ("[topics.orders\n", "is not TOML"),
        ('[topics.orders]\nuse = "failovr"\n', "did you mean 'failover'"),
        ('[topics.orders]\nqueue = "log:///tmp/x/t"\nlanes = "many"\n', "lanes must be a whole number"),
        ('[topics."a/b"]\nqueue = "log:///tmp/x/t"\n', "letters, digits"),
    ]:
        config.write_text(text)
        ran = must_fail(2, words, "send", "orders", "--config", str(config))
        assert str(config) in ran.stderr.decode() or "a/b" in ran.stderr.decode()


def test_carriage_return_at_the_end_of_a_line_belongs_to_the_body(tmp_path: Path) -> None:
    url, body = f"log://{tmp_path}/log/t", b"a\r\nb\r\r\n\r\nc\n"
    assert evermq("send", url, given=body).returncode == 0
    assert evermq("read", url, *READ).stdout == body
    assert evermq("send", url, "--format", "json", given=b'{"body": "d"}\r\n').returncode == 0
    assert evermq("read", url, *READ).stdout == b"d\n"


@pytest.mark.parametrize(("redirection", "stream"), [("<&-", "input"), ("</dev/null >&-", "output")])
def test_send_without_a_standard_stream_says_so_and_ends(tmp_path: Path, redirection: str, stream: str) -> None:
    ran = in_shell(f'send "$URL" {redirection}', tmp_path)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert f"standard {stream} is closed".encode() in ran.stderr
    assert not (tmp_path / "log").exists()


def test_read_without_standard_output_takes_nothing(log: Path) -> None:
    ran = in_shell('read "$URL" --group g --until-empty >&-', log.parent)
    assert ran.returncode == 2
    assert b"standard output is closed" in ran.stderr
    assert len(evermq("read", f"log://{log}/t", *READ).stdout.splitlines()) == 10


def test_standard_input_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    ran = in_shell('send "$URL" 0>/dev/null', tmp_path)
    assert ran.returncode == 2
    assert b"standard input cannot be read: Bad file descriptor; 0 messages were sent" in ran.stderr


def test_errors_do_not_go_to_standard_output_where_standard_error_is_closed(log: Path) -> None:
    ran = in_shell('read "$URL?fsinc=x" --group g 2>&-', log.parent)
    assert (ran.returncode, ran.stdout) == (2, b"")


def in_shell(command: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "URL": f"log://{directory}/log/t", "PYTHON": sys.executable}
    line = f'exec "$PYTHON" -m evermq.daemon.cli {command}'
    return subprocess.run(["sh", "-c", line], env=environment, capture_output=True, timeout=60, check=False)
