"""A mirror that misbehaves: a real HTTP server on loopback, whose answers are chosen by the test."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Callable
from pathlib import Path

Handler = http.server.BaseHTTPRequestHandler
Answer = Callable[[Handler, bytes], None]


def send(
    handler: Handler,
    body: bytes,
    *,
    status: int = 200,
    length: int | None = None,
    kind: str = "application/gzip",
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def as_it_is(handler: Handler, body: bytes) -> None:
    send(handler, body)


def status(code: int) -> Answer:
    return lambda handler, body: send(handler, b"no", status=code)


def instead(other: bytes, kind: str = "application/gzip") -> Answer:
    return lambda handler, body: send(handler, other, kind=kind)


def cut(share: float, *, honest: bool = False) -> Answer:
    """Sends a part of the file: with the length of the whole, or, `honest`, with its own."""

    def answer(handler: Handler, body: bytes) -> None:
        part = body[: int(share * len(body))]
        send(handler, part, length=len(part) if honest else len(body))

    return answer


def one_bit_flipped(handler: Handler, body: bytes) -> None:
    changed = bytearray(body)
    changed[len(changed) // 2] ^= 1
    send(handler, bytes(changed))


def redirect_to_itself(handler: Handler, body: bytes) -> None:
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def byte_by_byte(handler: Handler, body: bytes) -> None:
    send(handler, b"", length=len(body))
    for byte in body:
        time.sleep(0.2)
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()


def silence(handler: Handler, body: bytes) -> None:
    time.sleep(60)


def endless(handler: Handler, body: bytes) -> None:
    send(handler, b"", length=10**12)
    while True:
        handler.wfile.write(bytes(2**20))


class Mirror:
    """Serves the files of a folder, each as `answers` says for its name, else `as_it_is`.

    Attributes:
        requests: the paths asked for, and the port of who asked.
        answers: file name -> answer, or a list of answers, one per request, the last for all further ones.
    """

    def __init__(self, folder: Path | None, answers: dict[str, Answer | list[Answer]] | None = None):
        self.requests: list[tuple[str, int]] = []
        self.answers = answers or {}
        outer = self

        class Answering(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append((self.path, self.client_address[1]))
                file = folder / self.path.lstrip("/") if folder else None
                answer = outer.answers.get(self.path.split("/")[-1], as_it_is)
                if isinstance(answer, list):
                    answer = answer.pop(0) if len(answer) > 1 else answer[0]
                with contextlib.suppress(ConnectionError):
                    if file and file.is_file():
                        answer(self, file.read_bytes())
                    else:
                        send(self, b"not here", status=404)

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self.http.daemon_threads = True
        self.http.block_on_close = False
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self) -> Mirror:
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()
