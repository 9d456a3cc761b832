"""A proxy that serves another server below a prefix, as Jupyter's does: it takes the prefix off, and no more."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from typing_extensions import override

PREFIX = "/user/me/proxy/6006"
OWN = {"connection", "content-length", "transfer-encoding"}
"""Headers that each connection has for itself."""


@contextmanager
def proxied(address: str, *, passes_host: bool = False) -> Iterator[str]:
    """Serve a server below a prefix, and yield that address; `passes_host` keeps the browser's Host header."""
    host = urlsplit(address).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if not self.path.startswith(f"{PREFIX}/"):
                self.answer(404, [], b"nothing outside the prefix")
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() not in OWN}
            asked = http.client.HTTPConnection(host)
            asked.request(
                self.command,
                self.path.removeprefix(PREFIX),
                content or None,
                headers if passes_host else headers | {"Host": host},
            )
            answer = asked.getresponse()
            self.answer(answer.status, answer.getheaders(), answer.read())
            asked.close()

        do_POST = do_GET

        def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in OWN:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}{PREFIX}/"
        server.shutdown()
        thread.join()
