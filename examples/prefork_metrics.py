"""A server of several processes whose metrics are one page, whichever process is asked and however many have died.

The workers use prometheus_client as any program does; the only line that is ours is `install`. No file is written."""

import os
import signal
import socket
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import mempools
from mempools.edges.metrics import install

NR_WORKERS = 3
NR_REQUESTS = 30

arena = mempools.Arena.anonymous("8M")
install(arena)

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest  # noqa: E402
from prometheus_client.multiprocess import MultiProcessCollector  # noqa: E402

requests = Counter("requests", "Requests answered", ["path"])
sizes = Histogram("answer_bytes", "Bytes of an answer", buckets=(10, 100, 1000))
workers = Gauge("workers", "Workers that live", multiprocess_mode="livesum")


def page():
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = page() if self.path == "/metrics" else str(os.getpid()).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
        if self.path != "/metrics":
            requests.labels(self.path).inc()
            sizes.observe(len(body))

    def log_message(self, *_):
        pass


def worker(listener, ready):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    workers.set(1)
    os.close(ready)
    server = HTTPServer(listener.getsockname(), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.serve_forever()


def start(listener):
    """A worker that has begun."""
    begun, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            worker(listener, ready)
        finally:
            os._exit(1)
    os.close(ready)
    os.read(begun, 1)
    os.close(begun)
    return pid


def get(listener, path):
    host, port = listener.getsockname()
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=30) as answer:
        return answer.read().decode()


def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = [start(listener) for _ in range(NR_WORKERS)]
        try:
            for _ in range(NR_REQUESTS):
                get(listener, "/")
            os.kill(running[0], signal.SIGKILL)
            os.waitpid(running.pop(0), 0)
            running.append(start(listener))
            for _ in range(NR_REQUESTS):
                get(listener, "/")
            print(get(listener, "/metrics"))
        finally:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
