"""What belongs to the matrix and is no cold start: measured after it, each by a script of its own, told in the same words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import import_time, warm_overhead
from benchmarks.targets import Target

# Process starts of each kind of import.
IMPORT_ROUNDS = 10
# By picture: in how many rounds. The small one is judged; the large ones are stated, and take a tenth of a second each.
OVERHEAD_ROUNDS = {"38 kB": 1000, "1 MB": 150, "4 MB": 150}
OVERHEAD_LIMITS_MS = {(warm_overhead.INSTANT, "38 kB"): 0.3}


def measure_beside(out: Path, python: Path, naive_python: Path, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure everything; ``say`` is told what is going on.

    Returns:
        By name: each script's own results, its ``tables`` as text, and its rows of the matrix as ``targets``.

    Raises:
        import_time.ImportFailed: A measured import failed.
        warm_overhead.Unanswered: A measured process failed.
    """
    places = ["--out", str(out), "--python", str(python), "--naive-python", str(naive_python)]
    say(f"import mxnet: {IMPORT_ROUNDS} rounds")
    imports = measure_imports(places)
    say(f"warm overhead: {max(OVERHEAD_ROUNDS.values()):,} pairs")
    return {"import_time": imports, "warm_overhead": measure_overhead(places)}


def measure_imports(places: list[str]) -> dict[str, Any]:
    """``import mxnet``, ours and stock."""
    result = import_time.run(import_time.parse_arguments([*places, "--rounds", str(IMPORT_ROUNDS)]))
    return {"results": [result], "tables": [import_time.table(result)], "targets": list(import_time.targets(result))}


def measure_overhead(places: list[str]) -> dict[str, Any]:
    """What the handler adds to a warm invocation, with pictures of each size."""
    results = []
    for rounds in dict.fromkeys(OVERHEAD_ROUNDS.values()):
        pictures = [picture for picture, count in OVERHEAD_ROUNDS.items() if count == rounds]
        asked = [*places, "--rounds", str(rounds), "--pictures", *pictures]
        results.append(warm_overhead.run(warm_overhead.parse_arguments(asked)))
    return {
        "results": results,
        "tables": [warm_overhead.table(result) for result in results],
        "targets": [row._asdict() for result in results for row in overhead_targets(result)],
    }


def overhead_targets(result: Mapping[str, Any]) -> Iterator[Target]:
    """The rows of one run: what the handler takes longer than the bare work."""
    for kind, pictures in result["predictors"].items():
        for picture, sums in pictures.items():
            less = sums["handler_minus_ms"]["bare"]
            what = f"warm overhead, {picture} image, {warm_overhead.TITLES[kind]}"
            limit = OVERHEAD_LIMITS_MS.get((kind, picture))
            yield Target(what, less["median"], limit, less["low"], less["high"], "ms")
