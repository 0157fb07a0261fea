"""Measure what the handler's choice of OpenBLAS's kernels is worth: ours with it against ours with what OpenBLAS takes by itself.

``python -m benchmarks.kernels --out build/bench`` prints a table and writes ``kernels.json``. The same handler, archive and event on both sides;
every cold start is a fresh process, warm ones live side by side, and all take turns. ``docs/benchmarks.md`` says which nets there are.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cold_start import default_library_path, positive
from benchmarks.contenders import ROOT, Contender
from benchmarks.figures import median_ratio, summarize
from benchmarks.kernel_nets import BASKET, ENCODER, RETRIEVAL, TOKENS, VOCABULARY
from benchmarks.machine import cpu_time, foreign_share, machine_facts
from benchmarks.measure import Lambda, measure_cold, measure_warm
from benchmarks.power import NETS, questions
from benchmarks.power_measuring import Asked
from benchmarks.report import busy_warning
from benchmarks.tables import ratio_text
from benchmarks.workload import http_api_event, pack
from gluon_lambda.runtime.engine_environment import kernel_environment

SCHEMA = 1
OWN = (ENCODER, RETRIEVAL)
_ASK = (
    "from gluon_lambda.runtime.libmxnet import Library, find_libmxnet; print(Library(find_libmxnet()).openblas_kernels)"
)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    known = (*NETS, *OWN)
    parser.add_argument("--nets", nargs="+", choices=known, default=list(known), metavar="NET", help=", ".join(known))
    parser.add_argument("--without", default="", help="kernels of the other side (those that OpenBLAS takes by itself)")
    parser.add_argument("--cold", type=positive, default=10, help="cold starts of each side (10)")
    parser.add_argument("--warm", type=positive, default=200, help="warm invocations of each side (200)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for results and workload")
    parser.add_argument("--naive-python", type=Path, help="builds mobilenet, once (default: OUT/naive/bin/python)")
    parser.add_argument("--library-path", default=default_library_path(), help="folder of libgomp and libquadmath")
    return parser.parse_args(arguments)


def kernels_taken(library_path: str, chosen: Mapping[str, str]) -> str:
    """The kernels that OpenBLAS takes in a fresh process with the variables ``chosen``."""
    environ = {
        "LD_LIBRARY_PATH": library_path,
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(ROOT / "handler"),
        **chosen,
    }
    return subprocess.check_output([sys.executable, "-c", _ASK], env=environ, cwd="/", text=True).strip()


def own_nets(folder: Path, names: Sequence[str]) -> Iterator[Asked]:
    """The nets that multiply with OpenBLAS, built anew: that takes some seconds."""
    if not names:
        return
    subprocess.run([sys.executable, "-m", "benchmarks.kernel_nets", str(folder)], check=True, cwd=ROOT)
    numbers = [random.Random(at).randrange(VOCABULARY) for at in range(TOKENS)]
    for name, title, row in (
        (ENCODER, "two layers of BERT base, 128 tokens", numbers),
        (RETRIEVAL, "20 x 128 times 128 x 50,000", numbers[:BASKET]),
    ):
        if name in names:
            body = json.dumps({"data": [row]}).encode()
            event = http_api_event(body, path=f"/{name}/predict", content_type="application/json")
            yield Asked(name, title, pack(folder / name, folder / f"{name}.model"), event, len(body))


def sides_of(asked: Asked, without: str) -> tuple[Contender, Contender]:
    """Ours, and ours with kernels that the user's own setting names."""
    environ = (("GLUON_MODELS", f"{asked.name}={asked.archive}"), ("PYTHONPATH", str(ROOT / "handler")))
    python = Path(sys.executable)
    ours = Contender(
        asked.name, python, ROOT / "handler", "lambda_function.lambda_handler", environ, workload=asked.name
    )
    named = (*environ, ("OPENBLAS_CORETYPE", without))
    return ours, ours._replace(name=f"{asked.name}-{without}", environ=named)


def measured(asked: Asked, without: str, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides' values, in turns.

    Raises:
        Disagreement: The sides answer differently.
        SandboxFailed: One does not answer.
    """
    setting = Lambda({asked.name: asked.event}, options.library_path, options.out.resolve() / "logs")
    sides = sides_of(asked, without)
    starts, _ = measure_cold(setting, sides, {}, rounds=options.cold)
    warm = measure_warm(setting, sides, rounds=options.warm)
    values = {
        side: {"cold_ms": [start.total_ms for start in starts[each.name]], "warm_ms": warm[each.name][0]}
        for side, each in zip(("ours", "without"), sides, strict=True)
    }
    return {"title": asked.title, **values}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Prepare and measure.

    Raises:
        SystemExit: Both sides would have the same kernels, or something has not been built.
    """
    library_path = options.library_path
    chosen = kernels_taken(library_path, kernel_environment())
    without = options.without or kernels_taken(library_path, {})
    if chosen == without:
        raise SystemExit(
            f"OpenBLAS takes {without} here by itself: there is nothing to compare. --without names others"
        )
    (options.out / "logs").mkdir(parents=True, exist_ok=True)
    asked = [*examples(options), *own_nets(options.out.resolve() / "kernels", [n for n in options.nets if n in OWN])]
    before, nets = cpu_time(), {}
    for each in asked:
        nets[each.name] = measured(each, without, options)
        print(row(each.name, nets[each.name]), flush=True)
    machine = machine_facts() | {"cpu_share_of_other_work": round(foreign_share(before, cpu_time()), 3)}
    settings = {"cold": options.cold, "warm": options.warm}
    kernels = {"ours": chosen, "without": without}
    return {"schema": SCHEMA, "machine": machine, "settings": settings, "kernels": kernels, "nets": nets}


def examples(options: argparse.Namespace) -> list[Asked]:
    """The nets of the memory sizes' benchmark."""
    return questions(options) if set(options.nets) & set(NETS) else []


def table(result: Mapping[str, Any]) -> str:
    """The figures for reading."""
    machine, kernels = result["machine"], result["kernels"]
    head = f"{machine['processor']}, {machine['cpus']} CPUs; {kernels['ours']} / {kernels['without']}, medians"
    lines = ["| net | | warm, ms | without | ratio | cold start, ms | without | ratio |", "|---|---|" + "---:|" * 6]
    rows = [row(name, each) for name, each in result["nets"].items()]
    return "\n".join([busy_warning(machine["cpu_share_of_other_work"]) + head, "", *lines, *rows])


def row(name: str, net: Mapping[str, Any]) -> str:
    """A net's line."""
    cells = [f"`{name}`", net["title"]]
    for key, digits in (("warm_ms", 2), ("cold_ms", 0)):
        sides = net["ours"][key], net["without"][key]
        cells += [f"{summarize(values).median:.{digits}f}" for values in sides]
        cells.append(ratio_text(median_ratio(*sides)))
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    result = run(options)
    print(f"\n{table(result)}\n")
    path = options.out.resolve() / "kernels.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}")


if __name__ == "__main__":
    main()
