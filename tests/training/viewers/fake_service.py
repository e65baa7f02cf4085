"""A service for simulated viewers that ranks as it is told, and remembers what it was sent."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeService:
    """What was asked, and how to answer.

    Attributes:
        url: Of the service.
        ranked: Bodies of rankings that were answered, by request id.
        events: Events that were taken, those of calls that come twice included.
        videos: Bodies of videos.
        failing: Status codes that the next calls with events are answered with, after they were taken.
        away: How many of the next calls are answered with 503.
    """

    url: str

    def __init__(self) -> None:
        self.ranked: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.videos: list[dict[str, Any]] = []
        self.failing: list[int] = []
        self.away = 0.0
        self.lock = threading.Lock()

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        with self.lock:
            if self.away > 0:
                self.away -= 1
                return 503, {}
            if path == "/v1/rank":
                name = f"r{len(self.ranked)}"
                self.ranked[name] = body
                shown = body["candidates"][: body["limit"]]
                return 200, {"request_id": name, "items": shown}
            if path == "/v1/videos":
                self.videos.append(body)
                return 204, None
            self.events += body["events"]
            if self.failing:
                return self.failing.pop(0), {}
            return 200, {"written": len(body["events"]), "rejected": []}


@contextmanager
def fake_service() -> Iterator[FakeService]:
    service = FakeService()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = service.answer(self.path, body)
            content = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_PUT = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
