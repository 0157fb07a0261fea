"""Measure batches: through the real handler, against the bare net, against one invocation for each image, and in memory.

``python -m benchmarks.batch --out build/bench`` prints a table of what is to be reached, and writes ``batch.json``.
``docs/benchmarks.md`` says what is compared, and how to read it.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.agreement import alike
from benchmarks.bare_loop import Order
from benchmarks.batch_function import Function, Place, Wrong, require_rows
from benchmarks.batch_inputs import make_pictures, number_rows, review_rows, zip_of
from benchmarks.batch_rival import BareLoop, RivalFailed, small_archive
from benchmarks.batch_tables import ALONE, KEYS, ZIP, table, targets_of
from benchmarks.bucket_server import serve_buckets
from benchmarks.cold_start import absolute, default_library_path, end, naive_python_of, positive
from benchmarks.contenders import MEMORY_MB, ROOT
from benchmarks.machine import cpu_time, foreign_share, machine_facts, versions_of
from benchmarks.sandbox import SandboxFailed
from benchmarks.workload import BUILT, MissingArchive, prepare_workload

SCHEMA = 1
# Decoders of the bare loop's ways.
BARE = {0: "bare, in turn", 1: "bare, 1 decodes ahead", 2: "bare, 2 decode ahead"}
SIZES = (4, 8, 16, 32, 64)
# Rows, and not only the smallest and the largest: where memory grows, it shows from where to where.
MEMORY_ROWS = (10, 1_000, 10_000, 100_000, 300_000)
CHAR_CNN = {"native service": "char_cnn_native.mar", "MMS 0.4 service": "char_cnn.model"}
# OpenMP's threads stop spinning meanwhile.
PAUSE_S = 0.02
SEED = 20

Turn = Callable[[str], float]


class Setting(NamedTuple):
    """What all parts share.

    Attributes:
        options: The command line's.
        place: What functions need.
        folder: For what is made.
    """

    options: argparse.Namespace
    place: Place
    folder: Path


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=5, help="turns of each contender (5)")
    parser.add_argument("--images", type=positive, default=192, help="in a zip, and as objects of one event (192)")
    parser.add_argument("--alone", type=positive, default=32, help="images with an invocation for each, in a turn (32)")
    parser.add_argument("--reviews", type=positive, default=128, help="rows for char_cnn in a turn (128)")
    parser.add_argument(
        "--most-rows", type=positive, default=MEMORY_ROWS[-1], help="rows that memory is looked at with"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for results and workload")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the measured interpreter")
    parser.add_argument("--naive-python", type=Path, help="where stock mxnet works (default: OUT/naive/bin/python)")
    parser.add_argument("--library-path", default=default_library_path(), help="folder of libgomp and libquadmath")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Prepare, measure and sum up.

    Raises:
        MissingArchive: An example archive has not been built.
        RivalFailed: The bare loop did.
        SandboxFailed: The function did.
        Wrong: It left other outputs than it should.
    """
    out = options.out.resolve()
    before = cpu_time()
    with serve_buckets() as url:
        (logs := out / "logs").mkdir(parents=True, exist_ok=True)
        place = Place(absolute(options.python), options.library_path, url, logs)
        setting = Setting(options, place, out / "batch")
        measured = {"images": images(setting), "rows": reviews(setting), "memory": memory(setting)}
    foreign = foreign_share(before, cpu_time())
    return {
        "schema": SCHEMA,
        "settings": {
            "rounds": options.rounds,
            "images": options.images,
            "alone": options.alone,
            "memory_mb": MEMORY_MB,
        },
        "machine": {**machine_facts(), "cpu_share_of_other_work": round(foreign, 3)},
        "versions": versions_of(place.python),
        **measured,
    }


def images(setting: Setting) -> dict[str, Any]:
    """Images per second of everybody, in turns, and how large their batches were."""
    options, folder = setting.options, setting.folder
    workload = prepare_workload(
        options.out.resolve() / "workload", python=naive_python_of(options), library_path=options.library_path
    )
    pictures = make_pictures()
    with ExitStack() as stack:
        bare = stack.enter_context(BareLoop(setting.place, pictures, workload.net, folder))
        function = stack.enter_context(Function("images", workload.archive, setting.place))
        function.together("loads", {"some.zip": zip_of(pictures, len(pictures))})
        orders = {name: best_order(bare, decoders, options.images) for decoders, name in BARE.items()}
        ours = Ours(function, pictures, bare.answers())
        turns = {name: rate_of(bare, order) for name, order in orders.items()} | {
            ZIP: lambda run: ours.in_a_zip(run, options.images),
            KEYS: lambda run: ours.in_objects(run, options.images),
            ALONE: lambda run: ours.one_by_one(run, options.alone),
        }
        rates = in_rounds(turns, options.rounds, what="images per second")
        return {"rates": rates, "sizes": {name: order.size for name, order in orders.items()} | {ZIP: function.size()}}


def best_order(bare: BareLoop, decoders: int, count: int) -> Order:
    """The batch size at which a way of the bare loop's is fastest: the better of two tries of each, with a quarter of the images."""
    orders = [Order(decoders, size, max(count // 4, size)) for size in SIZES] * 2
    taken = [(bare.run(order) / order.images, order.size) for order in orders]
    return Order(decoders, min(taken)[1], count)


def rate_of(bare: BareLoop, order: Order) -> Turn:
    """A turn of the bare loop."""
    return lambda _run: order.images / bare.run(order)


class Ours(NamedTuple):
    """The function with its pictures.

    Attributes:
        function: Answers them.
        pictures: Different ones.
        expected: What the bare net says of each.
    """

    function: Function
    pictures: Sequence[bytes]
    expected: Sequence[Any]

    def in_a_zip(self, run: str, count: int) -> float:
        """Images per second of one zip."""
        seconds = self.function.together(run, {"pictures.zip": zip_of(self.pictures, count)})
        self._check(run, objects=1, rows=count)
        return count / seconds

    def in_objects(self, run: str, count: int) -> float:
        """Images per second of objects that one event names."""
        seconds = self.function.together(run, self._objects(count))
        self._check(run, objects=count, rows=count)
        return count / seconds

    def one_by_one(self, run: str, count: int) -> float:
        """Images per second with S3's own event for each."""
        seconds = self.function.each_alone(run, self._objects(count))
        self._check(run, objects=count, rows=count)
        return count / seconds

    def _objects(self, count: int) -> dict[str, bytes]:
        return {f"{at:05}.jpg": self.pictures[at % len(self.pictures)] for at in range(count)}

    def _check(self, run: str, *, objects: int, rows: int) -> None:
        outcomes, kinds = self.function.outcomes(run), len(self.expected)
        require_rows(outcomes, objects=objects, rows=rows, alike=lambda at, it: alike(self.expected[at % kinds], it))


def reviews(setting: Setting) -> dict[str, Any]:
    """Rows per second of JSON Lines on char_cnn."""
    content = review_rows(setting.options.reviews)
    with ExitStack() as stack:
        functions = {
            title: stack.enter_context(Function(f"reviews-{at}", built(archive), setting.place))
            for at, (title, archive) in enumerate(CHAR_CNN.items())
        }
        for function in functions.values():
            function.together("loads", {"some.jsonl": review_rows(1)})
        turns = {title: lines_of(function, content) for title, function in functions.items()}
        rates = in_rounds(turns, setting.options.rounds, what="rows per second")
        return {"rates": rates, "sizes": {title: function.size() for title, function in functions.items()}}


def built(archive: str) -> Path:
    """An example archive.

    Raises:
        MissingArchive: It has not been built.
    """
    path = BUILT / archive
    if not path.is_file():
        raise MissingArchive(
            f"no {path.relative_to(ROOT)}: `make bench-batch` builds it (python -m archives.char_cnn.build)"
        )
    return path


def lines_of(function: Function, content: bytes) -> Turn:
    """A turn of an object of JSON Lines."""
    rows = content.count(b"\n")

    def turn(run: str) -> float:
        seconds = function.together(run, {"rows.jsonl": content})
        require_rows(function.outcomes(run), objects=1, rows=rows, alike=lambda _at, it: it is not None)
        return rows / seconds

    return turn


def memory(setting: Setting) -> dict[str, Any]:
    """Peak memory of a fresh process by the number of rows that it has answered, in MiB."""
    archive = small_archive(setting.place, setting.folder)
    peaks = {}
    for rows in sorted(
        {*(rows for rows in MEMORY_ROWS if rows < setting.options.most_rows), setting.options.most_rows}
    ):
        with Function(f"memory-{rows}", archive, setting.place) as function:
            lines_of(function, number_rows(rows))("once")
            peaks[str(rows)] = round(function.peak_kib() / 1024, 1)
            print(f"  {rows:,} rows: peak memory {peaks[str(rows)]} MiB")
    return {"peak_mib": peaks}


def in_rounds(turns: Mapping[str, Turn], rounds: int, *, what: str) -> dict[str, list[float]]:
    """Give everybody a turn in each round, in an order drawn anew; the first round does not count."""
    chance, order = random.Random(SEED), list(turns)
    values: dict[str, list[float]] = {name: [] for name in order}
    for number in range(1 + rounds):
        chance.shuffle(order)
        for name in order:
            time.sleep(PAUSE_S)
            values[name].append(turns[name](f"round-{number}-{name.replace(' ', '-')}"))
        if number:
            told = ", ".join(f"{name} {rates[-1]:.1f}" for name, rates in values.items())
            print(f"  round {number} of {rounds}, {what}: {told}")
    return {name: [round(value, 3) for value in rates[1:]] for name, rates in values.items()}


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; 1 where something fails or is answered wrongly."""
    options, started = parse_arguments(arguments), time.monotonic()
    signal.signal(signal.SIGTERM, end)
    try:
        result = run(options)
    except (MissingArchive, RivalFailed, SandboxFailed, Wrong) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{table(result)}\n")
    rows = [{**row._asdict(), "reached": row.reached} for row in targets_of(result)]
    path = options.out.resolve() / "batch.json"
    path.write_text(json.dumps({**result, "targets": rows}, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}\ntook {(time.monotonic() - started) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
