"""The result as text: what is to be reached, then every quantity of every contender."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from benchmarks.contenders import ALEXNET, CHAR_CNN, MOBILENET
from benchmarks.figures import Ratio, Summary
from benchmarks.report import YARDSTICKS, busy_warning
from benchmarks.targets import target_table, targets_of

TITLES = {
    MOBILENET: "mobilenet1.0, exported (17 MB, seeded weights), 38 kB JPEG",
    CHAR_CNN: "char_cnn, MMS 0.4 service (45 MB), a review of 91 characters as a form",
    ALEXNET: "alexnet_hybrid, MMS 0.4 service (244 MB, untrained weights), 38 kB JPEG as a form",
}
# What is measured beside the cold starts, by the name that it has in the JSON.
BESIDE = ("import_time", "warm_overhead")


class Quantity(NamedTuple):
    """One thing that is measured.

    Attributes:
        key: In the JSON.
        title: In the table.
        digits: Behind the decimal point in the table.
    """

    key: str
    title: str
    digits: int


QUANTITIES = (
    Quantity("cold_ms", "cold start to first answer, ms", 0),
    Quantity("init_ms", "of it INIT (process start to first poll), ms", 0),
    Quantity("warm_ms", "warm invocation, ms", 2),
    Quantity("peak_mib", "peak memory (VmHWM) after first answer, MiB", 1),
)


def table(result: Mapping[str, Any]) -> str:
    """The whole result."""
    blocks = [heading(result), target_table(targets_of(result))]
    for workload, title in TITLES.items():
        contenders = {name: each for name, each in result["contenders"].items() if each["workload"] == workload}
        if contenders:
            blocks.append(f"--- {title}")
            blocks += ["\n".join(block_lines(quantity, workload, contenders)) for quantity in QUANTITIES]
    if result["s3"]:
        blocks.append("\n".join(s3_lines(result["s3"])))
    for name in BESIDE:
        blocks += result.get(name, {}).get("tables", ())
    return "\n\n".join(blocks)


def heading(result: Mapping[str, Any]) -> str:
    """What was measured, and where."""
    machine, settings = result["machine"], result["settings"]
    return busy_warning(machine["cpu_share_of_other_work"]) + (
        f"HTTP API events through awslambdaric; bytecode compiled for all but no-bytecode\n"
        f"{machine['processor']}, {machine['cpus']} CPUs; cold {settings['cold']} rounds, warm {settings['warm']} rounds\n"
        f"ratios: median over median, in brackets where it lies with 95 %"
    )


def block_lines(quantity: Quantity, workload: str, contenders: Mapping[str, Any]) -> Iterator[str]:
    """One quantity's lines."""
    yardsticks = [name for name in YARDSTICKS[workload] if name in contenders]
    columns = "".join(f"{'/ ' + name:>25}" for name in yardsticks)
    yield f"{quantity.title:<46}{'median':>9}{'mean':>9}{'p99':>9}{columns}"
    for name, result in contenders.items():
        entry = result[quantity.key]
        summary = Summary(entry["median"], entry["mean"], entry["p99"])
        numbers = "".join(f"{value:>9.{quantity.digits}f}" for value in summary)
        ratios = "".join(f"{ratio_text(Ratio(**entry['ratios'][to])):>25}" for to in yardsticks)
        yield f"  {name:<44}{numbers}{ratios}"


def ratio_text(ratio: Ratio) -> str:
    """A ratio and its interval."""
    return f"{ratio.value:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"


def s3_lines(s3: Mapping[str, Any]) -> Iterator[str]:
    """The terms of each archive on S3."""
    columns = ("fetch", "client", "imports", "load", "bound", "cold")
    yield f"{'archive on S3, ms (medians)':<46}" + "".join(f"{column:>10}" for column in columns)
    for workload, terms in s3.items():
        yield f"  {workload:<44}" + "".join(f"{terms[f'{column}_ms']:>10.0f}" for column in columns)
    yield "  bound: max(fetch, imports) + load; imports: with the S3 client's (client); imports - client + load: as from disk"
