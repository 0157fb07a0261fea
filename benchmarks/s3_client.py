"""Measure what an S3 client costs a cold start: its import, the first answer, and the whole of an object.

``python -m benchmarks.s3_client`` compares boto3's client, botocore's, botocore's signer with botocore's HTTP session, and the lean client
that the handler uses, each in a fresh process, all in turns, against the file server of ``s3_server.py``; then the number of connections,
over loopback and over a network that gives each of them 90 MB/s after 20 ms, as S3's guidelines describe it. ``--tls`` speaks HTTPS.
``docs/decisions/0004-s3-client.md`` says what was concluded.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.contenders import ROOT
from benchmarks.measure import turns
from benchmarks.s3_server import serve

CLIENTS = ("boto3", "botocore", "signer+urllib3", "lean")
CONNECTIONS = (1, 2, 4, 8)
# Amazon S3 User Guide, "Performance guidelines": 85 to 90 MB/s a connection. The latency is a guess.
SLOW = ("--latency-ms", "20", "--megabytes-per-second", "90")
SIZES = {"17 MB": 17_000_000, "244 MB": 244_000_000}
# Python's own interval between two threads' turns, and the one that INIT sets.
SWITCHING = ("0.005", "0.0005")

# Of a table's columns.
ORDER = ("made", "answered", "whole", "imports", "both")


class Case(NamedTuple):
    """One thing to measure: a client, an object, a number of connections, alone or beside imports."""

    client: str
    size: str
    connections: int
    beside: str = "alone"


class Place(NamedTuple):
    """Where it is measured: the server's URL, and variables beside AWS's."""

    url: str
    environ: Mapping[str, str]


def run_once(case: Case, place: Place) -> dict[str, float]:
    """One fresh process; times in ms."""
    environ = {
        **place.environ,
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",  # no configuration of AWS's, as on Lambda
        "PYTHONPATH": f"{ROOT / 'handler'}:{ROOT}",
        "AWS_ENDPOINT_URL_S3": place.url,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    url, sink = (
        f"s3://bench/{case.size.replace(' ', '%20')}",
        os.path.join(tempfile.gettempdir(), f"sink-{os.getpid()}"),
    )
    arguments = [case.client, url, sink, str(case.connections), case.beside]
    command = [sys.executable, "-m", "benchmarks.s3_worker", *arguments]
    done = subprocess.run(command, env=environ, check=True, stdout=subprocess.PIPE)
    times: dict[str, float] = json.loads(done.stdout)
    return times


def compare(cases: Sequence[Case], place: Place, rounds: int) -> Iterator[tuple[Case, dict[str, float]]]:
    """The median of each time of each case, all cases in turns."""
    times: dict[Case, list[dict[str, float]]] = {case: [] for case in cases}
    for case in cases:
        run_once(case, place)  # bytecode and page cache
    for order in turns(cases, rounds):
        for case in order:
            times[case].append(run_once(case, place))
    for case, measured in times.items():
        yield case, {name: statistics.median(each[name] for each in measured) for name in measured[0]}


def table(title: str, rows: Iterator[tuple[Case, dict[str, float]]]) -> None:
    """Print rows of medians."""
    print(f"\n{title} (ms, medians)")
    for number, (case, times) in enumerate(rows):
        names = sorted(times, key=ORDER.index)
        if number == 0:
            print("".join(f"{name:>16}" for name in ("client", "object", "connections", "beside", *names)))
        print("".join(f"{value:>16}" for value in case) + "".join(f"{times[name]:16.1f}" for name in names))


def tls_files(folder: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """The server's options and the client's variables for HTTPS, with a certificate made by the ``openssl`` program."""
    pem = folder / "server.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True, capture_output=True)
    pem.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return ("--certificate", str(pem)), {"AWS_CA_BUNDLE": str(folder / "cert.pem")}


def measure(folder: Path, options: Sequence[str], environ: Mapping[str, str], *, rounds: int, connections: int) -> None:
    """Every table, against servers with these options."""
    clients = [Case(client, size, 1) for size in SIZES for client in CLIENTS]
    counts = [Case("lean", size, count) for size in SIZES for count in CONNECTIONS]
    beside = [
        Case(client, size, connections, interval) for size in SIZES for interval in SWITCHING for client in CLIENTS
    ]
    with serve(folder, *options) as url:
        table("Clients, one connection, alone", compare(clients, Place(url, environ), rounds))
        table("Connections over loopback", compare(counts, Place(url, environ), rounds))
        table("Clients, while the main thread imports", compare(beside, Place(url, environ), rounds))
    with serve(folder, *options, *SLOW) as url:
        table("Connections of 90 MB/s each, after 20 ms", compare(counts, Place(url, environ), rounds))


def main(arguments: Sequence[str]) -> None:
    """Read the command line, make the objects, measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.s3_client", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="fresh processes for each case (10)")
    parser.add_argument("--connections", type=int, default=8, help="for the fetches beside imports (8)")
    parser.add_argument("--tls", action="store_true", help="speak HTTPS")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bench").mkdir()
        for size, count in SIZES.items():
            (folder / "bench" / size).write_bytes(os.urandom(count))
        server, client = tls_files(folder) if options.tls else ((), {})
        measure(folder, server, client, rounds=options.rounds, connections=options.connections)


if __name__ == "__main__":
    main(sys.argv[1:])
