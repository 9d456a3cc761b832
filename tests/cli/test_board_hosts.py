"""Names by which TensorBoard may be asked, and the hosts it listens on."""

import socket

import pytest
from rich.console import Console

from rnnstudy.cli.board.hosts import require_own, with_known_hosts
from rnnstudy.cli.board.serve import Place, board
from rnnstudy.core.errors import RnnstudyError


def answer(header: str | None, host: str = "localhost", *allowed: str) -> tuple[str, bytes]:
    """Status and content that a request with a Host header gets."""
    told: list[str] = []

    def start(status: str, headers: list[tuple[str, str]]) -> None:
        told.append(status)

    def shown(environ, start_response) -> list[bytes]:
        start_response("200 OK", [])
        return [b"the runs"]

    environ = {} if header is None else {"HTTP_HOST": header}
    content = b"".join(with_known_hosts(shown, host, allowed)(environ, start))
    return told[0], content


@pytest.mark.parametrize("header", ["localhost", "LocalHost:6006", "127.0.0.1:6006", "127.8.8.8", "[::1]:6006"])
def test_names_of_the_loopback_interface_pass(header):
    assert answer(header) == ("200 OK", b"the runs")


@pytest.mark.parametrize(
    "header", ["evil.example", "localhost.evil.example:6006", "10.0.0.1", "[2001:db8::1]", "[::1", "", None]
)
def test_a_foreign_host_is_refused_in_a_plain_sentence(header):
    status, content = answer(header)
    assert status == "403 Forbidden"
    assert content.startswith(b"TensorBoard does not answer to the host '")
    assert b"--allow-host" in content


def test_the_host_it_listens_on_and_those_allowed_pass():
    assert answer("lab.example:6006", "Lab.example")[0] == "200 OK"
    assert answer("hub.example", "localhost", "hub.example")[0] == "200 OK"
    assert answer("hub.example")[0] == "403 Forbidden"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "lab.example"])
def test_where_others_reach_it_addresses_and_its_own_names_pass_but_no_others(host):
    assert answer("10.0.0.1:6006", host)[0] == "200 OK"
    assert answer(socket.gethostname(), host)[0] == "200 OK"
    assert answer("evil.example", host)[0] == "403 Forbidden"


@pytest.mark.parametrize("host", ["", " ", "no such host", "192.0.2.1", "http://localhost", "a" * 70, "localhost:6006"])
def test_a_host_that_is_not_this_machine_is_refused_in_one_line(tmp_path, host):
    with pytest.raises(RnnstudyError) as refused:
        board(tmp_path, Place(host=host), Console(quiet=True))
    rule = f"--host must be a name or an address of this machine, got '{host}'."
    assert str(refused.value) == f"{rule} Leave it out for localhost."


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2", "0.0.0.0"])
def test_hosts_of_this_machine_are_taken(host):
    require_own(host)


@pytest.mark.parametrize("name", ["", "https://hub.example", "hub.example:8000", "hub.example/user"])
def test_an_allowed_host_must_be_a_name(name):
    with pytest.raises(RnnstudyError, match="--allow-host must be the name of a host"):
        answer("localhost", "localhost", name)
