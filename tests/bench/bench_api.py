"""Calls of the API through `ckpt.client` against a real daemon: prints one line of JSON.

    pages     for /v1/status, /v1/runs (all runs), /v1/run (one run), /v1/resolve: calls a second, p50 and p99 in ms,
              with one client and with --clients processes at once, and the bytes of the answer
    bare      the same bytes from a bare asyncio server on a Unix socket in another process, through a bare socket
    ratio     calls a second of the page over those of the bare server, with one client

Run it by itself: `python tests/bench/bench_api.py [--runs 100] [--checkpoints 100] [--clients 8] [--seconds 1.5]`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGES = {
    "status": ("/v1/status", {}),
    "runs": ("/v1/runs", {}),
    "run": ("/v1/run", {"run": "exp0"}),
    "resolve": ("/v1/resolve", {"ref": "exp0@best"}),
}


def measure(call: Callable[[], Any], seconds: float) -> list[float]:
    """Seconds that each call took, of as many as fit."""
    call()
    took, end = [], time.perf_counter() + seconds
    while (before := time.perf_counter()) < end:
        call()
        took.append(time.perf_counter() - before)
    return took


def figures(took: list[float], seconds: float) -> dict[str, float]:
    """Calls a second, and the times in ms below which half and 99 of 100 stay."""
    took = sorted(took)
    return {
        "per_s": round(len(took) / seconds),
        "p50_ms": round(1000 * took[len(took) // 2], 2),
        "p99_ms": round(1000 * took[min(len(took) - 1, int(len(took) * 0.99))], 2),
    }


def one_client(page: str, seconds: float) -> list[float]:
    """What a process of its own measures."""
    from ckpt.client import Client

    path, params = PAGES[page]
    with Client.connect(autostart=False) as client:
        return measure(lambda: client.get(path, **params), seconds)


def serve_bare(path: str, size: int) -> None:
    """Answers whatever comes with `size` bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(b"x" * size)
            await writer.drain()
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_unix_server(answer, path)
        await server.serve_forever()

    asyncio.run(serve())


def bare(directory: Path, size: int, seconds: float) -> dict[str, float]:
    """The bare server under one client."""
    path = str(directory / f"bare-{size}")
    server = multiprocessing.Process(target=serve_bare, args=(path, size), daemon=True)
    server.start()
    connection = socket.socket(socket.AF_UNIX)
    try:
        while connection.connect_ex(path):
            time.sleep(0.01)

        def call() -> None:
            connection.sendall(b"x" * 150)
            left = size
            while left:
                left -= len(connection.recv(left))

        return figures(measure(call, seconds), seconds)
    finally:
        connection.close()
        server.terminate()
        server.join()


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("runs", 100), ("checkpoints", 100), ("clients", 8)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--seconds", type=float, default=1.5)
    chosen = options.parse_args()
    place = Path(tempfile.mkdtemp(prefix="ck-bench-"))
    for name in ("CONFIG_HOME", "STATE_HOME", "RUNTIME_DIR"):
        os.environ[f"CKPTD_{name}"] = str(place / name.lower())
    sys.path.insert(0, str(Path(__file__).parent))
    from bench_daemon import make_runs

    from ckpt import protocol
    from ckpt.client import Client, daemon_note

    make_runs(place / "runs", chosen.runs, chosen.checkpoints)
    daemon = subprocess.Popen(
        [sys.executable, "-m", "ckptd", "run", "--watch", str(place / "runs")],
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    pages: dict[str, Any] = {}
    try:
        while (daemon_note() or {}).get("pid") != daemon.pid:
            time.sleep(0.01)
            if daemon.poll() is not None:
                raise SystemExit("the daemon did not start")
        with Client.connect(autostart=False) as client:
            client.get("/v1/runs")
            # The first look is followed by a flush of the catalog; what is measured is the daemon at rest.
            time.sleep(3)
            sizes = {page: len(protocol.encode(client.get(path, **params))) for page, (path, params) in PAGES.items()}
        with multiprocessing.get_context("spawn").Pool(chosen.clients) as pool:
            for page, size in sizes.items():
                alone = figures(one_client(page, chosen.seconds), chosen.seconds)
                together = pool.starmap(one_client, [(page, chosen.seconds)] * chosen.clients)
                peer = bare(place, size, chosen.seconds)
                pages[page] = {
                    "bytes": size,
                    "one": alone,
                    "many": figures([took for one in together for took in one], chosen.seconds),
                    "bare": peer,
                    "ratio": round(alone["per_s"] / peer["per_s"], 3),
                }
    finally:
        daemon.terminate()
        daemon.wait(20)
        shutil.rmtree(place, ignore_errors=True)
    print(json.dumps({"bench": "api", "runs": chosen.runs, "clients": chosen.clients, "pages": pages}))


if __name__ == "__main__":
    main()
