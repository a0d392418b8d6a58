"""The server under test: `POST /name` adds one to a counter, `GET` tells it, `DELETE` forgets it."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


class CounterServer(HTTPServer):
    def __init__(self, port: int) -> None:
        self.counters: Counter[str] = Counter()
        super().__init__(("127.0.0.1", port), Handler)


class Handler(BaseHTTPRequestHandler):
    server: CounterServer

    def do_GET(self) -> None:
        body = json.dumps({"count": self.server.counters[self.path]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.server.counters[self.path] += 1
        self.do_GET()

    def do_DELETE(self) -> None:
        del self.server.counters[self.path]
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(port: int) -> Iterator[CounterServer]:
    """A server in a thread, for as long as the block lasts."""
    with CounterServer(port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    import sys

    import trop

    port = int(sys.argv[1]) if sys.argv[1:] else trop.reserve(tag="dev").port
    with CounterServer(port) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
