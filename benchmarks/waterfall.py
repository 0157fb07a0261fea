"""Show where a cold start's time goes, for any archive: a timeline of every thread, as a picture and as a table.

``python -m benchmarks.waterfall --models mine=mine.model --event event.json`` starts the handler as Lambda does, several
times, prints what took how long, and writes ``waterfall.svg``, ``waterfall.png`` and ``waterfall.json``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from benchmarks.contenders import MEMORY_MB, ROOT, Contender
from benchmarks.import_log import Imported, by_package, costliest, read_imports
from benchmarks.machine import cpu_time, foreign_share
from benchmarks.report import busy_warning
from benchmarks.sandbox import ColdStart, Sandbox, SandboxFailed
from benchmarks.timeline import AFTER, BEFORE, Span, critical_path, durations, median_spans, tidied
from benchmarks.workload import http_api_request

PING = json.dumps(http_api_request("GET", "/ping", {"accept": "*/*"})).encode("ascii")
# What a new sandbox has none of: an archive that an earlier one has fetched.
NOT_PASSED_ON = ("GLUON_CACHE_DIR",)
SHOWN = 12


class Waterfall(NamedTuple):
    """What was found out.

    Attributes:
        models: As configured.
        asked: What the first invocation was.
        rounds: How many cold starts.
        total_ms: Process start to the first answer, median.
        init_ms: Process start to the end of INIT, median.
        peak_mib: Peak memory after the first answer, median.
        path: What the caller waits for.
        spans: Every phase of every thread, from process start to the answer.
        modules: What Python imported, from a run of its own.
    """

    models: str
    asked: str
    rounds: int
    total_ms: float
    init_ms: float
    peak_mib: float
    path: tuple[Span, ...]
    spans: tuple[Span, ...]
    modules: list[Imported]


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waterfall", description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", metavar="NAME=LOCATION", help="as in GLUON_MODELS, which is the default")
    parser.add_argument("--event", type=Path, metavar="FILE", help="JSON of the first event (GET /ping)")
    parser.add_argument("--out", type=Path, default=Path("build/bench/waterfall"), help="folder for the pictures")
    parser.add_argument("--rounds", type=int, default=5, help="cold starts (5); one more comes first, uncounted")
    parser.add_argument("--memory", type=int, default=MEMORY_MB, help=f"the function's memory in MB ({MEMORY_MB})")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the handler's interpreter")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: at least 1")
    options.models = options.models or os.environ.get("GLUON_MODELS", "").split()
    if not options.models:
        parser.error("no model: name one with --models NAME=LOCATION, or in GLUON_MODELS")
    return options


def absolute_location(word: str, folder: str) -> str:
    """``name=location`` with a relative path made absolute: the handler runs in a folder of its own."""
    name, equals, location = word.partition("=")
    if not location or "://" in location or location.startswith("/"):
        return word
    return f"{name}{equals}{quote(folder)}/{location}"


def read_event(file: Path | None) -> tuple[bytes, str]:
    """The first event, and what to call it.

    Raises:
        SystemExit: The file is not there, or holds no JSON object.
    """
    if file is None:
        return PING, "GET /ping; --event FILE asks the model"
    try:
        event = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"--event {file}: {error}") from error
    if not isinstance(event, dict):
        raise SystemExit(f"--event {file}: a JSON object is wanted, as Lambda hands it to the function")
    return json.dumps(event).encode("ascii"), file.name


def handler_of(options: argparse.Namespace) -> Contender:
    """The handler with the user's own settings, credentials and region."""
    mine = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("GLUON_", "AWS_")) and name not in NOT_PASSED_ON
    }
    folder = os.getcwd()
    mine["GLUON_MODELS"] = " ".join(absolute_location(word, folder) for word in options.models)
    mine["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] = str(options.memory)
    # Where a profile's credentials are looked for.
    mine["HOME"] = os.environ.get("HOME", "/")
    python = Path(os.path.abspath(options.python))
    return Contender("waterfall", python, ROOT / "handler", "lambda_function.lambda_handler", tuple(mine.items()))


def cold_start(handler: Contender, event: bytes, log: Path) -> ColdStart:
    """One process, until its first answer.

    Raises:
        SandboxFailed: INIT or the event failed.
    """
    library_path = os.environ.get("LD_LIBRARY_PATH") or str(ROOT / "build" / "lib")
    library_path = os.pathsep.join(os.path.abspath(folder) for folder in library_path.split(os.pathsep) if folder)
    with Sandbox(handler, library_path=library_path, log=log) as sandbox:
        return sandbox.first_answer(event)


def measure(options: argparse.Namespace, event: bytes, asked: str) -> Waterfall:
    """Start the handler as often as wanted, once more for its imports, and sum up.

    Raises:
        SandboxFailed: INIT or the event failed.
    """
    handler, log = handler_of(options), options.out / "handler.log"
    complain_of_answer(cold_start(handler, event, log).answer, asked)
    starts = [cold_start(handler, event, log) for _ in range(options.rounds)]
    # A run of its own: writing a line about each module takes time.
    told = options.out / "importtime.log"
    cold_start(handler._replace(options=("-X", "importtime")), event, told)
    modules = read_imports(told.read_text(encoding="utf-8", errors="replace").splitlines())
    return sum_up(starts, " ".join(options.models), asked, modules)


def sum_up(starts: Sequence[ColdStart], models: str, asked: str, modules: list[Imported]) -> Waterfall:
    """The medians of all rounds."""
    init = statistics.median(start.init_ms for start in starts)
    total = max(init, statistics.median(start.total_ms for start in starts))
    peak = statistics.median(start.peak_kib for start in starts) / 1024
    reported = median_spans([start.spans for start in starts])
    path = critical_path(reported, init_ms=init, total_ms=total)
    around = [span for span in path if span.phase in (BEFORE, AFTER)]
    return Waterfall(models, asked, len(starts), total, init, peak, path, tidied([*reported, *around]), modules)


def complain_of_answer(answer: bytes, asked: str) -> None:
    """Say so where the first answer is an error: then the time of the first invocation is not a prediction's."""
    response: Any = json.loads(answer or b"null")
    status = response.get("statusCode", 200) if isinstance(response, dict) else 200
    if isinstance(status, int) and status >= 400:
        print(f"note: the answer to {asked} is HTTP {status}: {str(response.get('body', ''))[:300]}", file=sys.stderr)


def table(waterfall: Waterfall) -> str:
    """The waterfall as text."""
    blocks = [
        f"cold start of {waterfall.models}\n"
        f"first event: {waterfall.asked}; {waterfall.rounds} rounds, medians in ms\n"
        f"first answer after {waterfall.total_ms:.0f} ms, of it INIT {waterfall.init_ms:.0f} ms; "
        f"peak memory {waterfall.peak_mib:.0f} MiB",
        "\n".join(path_lines(waterfall)),
        "\n".join(span_lines(waterfall.spans)),
        "\n".join(import_lines(waterfall.modules)),
    ]
    return "\n\n".join(blocks)


def path_lines(waterfall: Waterfall) -> list[str]:
    """What the caller waits for, by phase."""
    lines = [f"{'what the caller waits for (main thread)':<44}{'ms':>10}{'share':>10}"]
    for phase, taken in durations(waterfall.path).items():
        lines.append(f"  {phase:<42}{taken:>10.1f}{taken / waterfall.total_ms:>10.0%}")
    return lines


def span_lines(spans: Sequence[Span]) -> list[str]:
    """Every phase of every thread."""
    lines = [f"{'what ran when':<44}{'from':>10}{'to':>10}{'took':>10}  thread"]
    for span in spans:
        taken = span.end_ms - span.start_ms
        lines.append(f"  {title_of(span):<42}{span.start_ms:>10.1f}{span.end_ms:>10.1f}{taken:>10.1f}  {span.thread}")
    return lines


def title_of(span: Span) -> str:
    """A phase, and the model it is for."""
    return f"{span.phase} {span.model}".rstrip()


def import_lines(modules: Sequence[Imported]) -> list[str]:
    """The costliest imports, by package and by module."""
    note = "from a run with -X importtime, which slows them; with threads at work, totals run into one another"
    lines = [f"imports, ms ({note})", f"{'  package':<44}{'itself':>10}{'modules':>10}"]
    lines += [f"    {each.name:<40}{each.self_ms:>10.1f}{each.modules:>10}" for each in by_package(modules)[:SHOWN]]
    lines += [f"{'  module':<44}{'itself':>10}{'in all':>10}"]
    return lines + [
        f"    {each.name:<40}{each.self_ms:>10.1f}{each.total_ms:>10.1f}" for each in costliest(modules, SHOWN)
    ]


def to_json(waterfall: Waterfall) -> dict[str, Any]:
    """The waterfall as JSON."""
    records = {key: [each._asdict() for each in getattr(waterfall, key)] for key in ("path", "spans", "modules")}
    return {**waterfall._asdict(), **records}


def write_result(waterfall: Waterfall, out: Path) -> str:
    """Write JSON and pictures; returns what to tell about it."""
    (out / "waterfall.json").write_text(json.dumps(to_json(waterfall), indent=1) + "\n", encoding="utf-8")
    if importlib.util.find_spec("matplotlib") is None:
        return "no picture: matplotlib is not installed (pip install -r benchmarks/requirements.txt)"
    # Only here: the table does without it.
    from benchmarks.waterfall_picture import draw

    draw(waterfall, [out / "waterfall.svg", out / "waterfall.png"])
    return f"drawn: {out / 'waterfall.svg'}, {out / 'waterfall.png'}"


def failure(error: SandboxFailed) -> str:
    """What to tell a user whose function fails: what it reported, or else the end of its log."""
    if not error.reported:
        return str(error)
    when = "INIT failed" if error.in_init else "the first invocation failed"
    return f"{when} with {described(error.reported)}"


def described(reported: Mapping[str, Any]) -> str:
    """An error as awslambdaric reports it."""
    return f"{reported.get('errorType', 'an error')}: {reported.get('errorMessage', '')}"


def main(arguments: Sequence[str]) -> int:
    """Measure and show; 1 where the function fails."""
    options = parse_arguments(arguments)
    event, asked = read_event(options.event)
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    before = cpu_time()
    try:
        waterfall = measure(options, event, asked)
    except SandboxFailed as error:
        print(failure(error), file=sys.stderr)
        return 1
    print(busy_warning(foreign_share(before, cpu_time())) + table(waterfall))
    print(f"\n{write_result(waterfall, options.out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
