"""Names by which TensorBoard may be asked.

A page of a stranger can make a browser ask this machine, by a name of the stranger's that leads here (DNS rebinding).
The Host header then has that name, so a request with an unknown one is refused.
"""

import ipaddress
import socket
from collections.abc import Callable, Collection, Iterable
from typing import Any
from urllib.parse import urlsplit

from rnnstudy.cli.board.pages import Application
from rnnstudy.core.errors import RnnstudyError
from rnnstudy.core.text import printable

LOOPBACK = "localhost"
"""The host to listen on unless the user names another."""


def require_own(host: str) -> None:
    """Raise RnnstudyError unless a host is a name or an address of this machine, on which it can listen."""
    try:
        family, *_ = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
        socket.create_server((host, 0), family=family).close()
    except (OSError, UnicodeError):
        advice = f"Leave it out for {LOOPBACK}."
        raise RnnstudyError(f"--host must be a name or an address of this machine, got '{host}'. {advice}") from None


def is_loopback(host: str) -> bool:
    """Return whether a host is reached from this machine alone."""
    address = _address(host)
    return host == LOOPBACK if address is None else address.is_loopback


def with_known_hosts(application: Application, host: str, allowed: Collection[str] = ()) -> Application:
    """Return an application that refuses requests whose Host header is foreign.

    Names of the loopback interface pass, and `host`. If others can reach it, so do addresses in numbers, which no
    stranger's name server can redirect, and the machine's own names.

    Args:
        application: The WSGI application.
        host: Host it listens on.
        allowed: Further names, such as that of a proxy which passes on the browser's Host header.

    Raises:
        RnnstudyError: One of `allowed` is not the name of a host.
    """
    names = {LOOPBACK, host.lower(), *map(_require_name, allowed)}
    is_open = not is_loopback(host)
    if is_open:
        names |= {name.lower() for name in (socket.gethostname(), socket.getfqdn())}

    def checked(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        name = _name(environ.get("HTTP_HOST", ""))
        address = _address(name)
        if name in names or (address is not None and (is_open or address.is_loopback)):
            return application(environ, start_response)
        text = f"TensorBoard does not answer to the host '{printable(name)}'. If it is yours, such as that of a proxy, "
        sentence = f"{text}start rnnstudy board with --allow-host and this name.\n".encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(sentence)))]
        start_response("403 Forbidden", [*headers, ("X-Content-Type-Options", "nosniff")])
        return [sentence]

    return checked


def _require_name(allowed: str) -> str:
    name = _name(allowed)
    if not name or name != allowed.lower():
        raise RnnstudyError(f"--allow-host must be the name of a host, such as hub.example.com, got '{allowed}'.")
    return name


def _name(header: str) -> str:
    """Return the host of a Host header in small letters, without its port; empty if it has none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
