"""The server under test: `POST /name` adds one to a counter, `GET` tells it, `DELETE` forgets it."""

import json
from collections import Counter
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


if __name__ == "__main__":
    import trop

    with CounterServer(trop.reserve(tag="dev").port) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
