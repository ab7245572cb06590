"""Runs an app behind a real uvicorn on a free port of this machine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI


def free_socket(port: int = 0) -> socket.socket:
    """A bound socket; the kernel picks the port unless one is named."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


@contextmanager
def served(app: FastAPI, port: int = 0) -> Iterator[str]:
    """Base URL of the running app; stops it on exit."""
    bound = free_socket(port)
    bound.listen()  # a client that is faster than the server waits instead of being refused
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        bound.close()
        assert not thread.is_alive(), "the server did not stop"
