"""What a deployment costs a month for three patterns of traffic, from what ``python -m benchmarks.power`` measured. ``docs/deploy.md`` shows it.

Prices are inputs: those of ``batch_costs``, and the ones below: AWS's public list, us-east-1, first tier, without free tiers, as known on 2026-11-22
and not asked of AWS. How many requests meet a new sandbox is simulated, seeded: requests at random times, the sandbox that was used last first, gone
after ten idle minutes (assumed, as for batches).
"""

from __future__ import annotations

import heapq
import json
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.batch_costs import Prices
from benchmarks.contenders import MOBILENET, ROOT
from benchmarks.power import nets_of
from benchmarks.power_sizes import Net, Size, dollars, table
from benchmarks.report import busy_warning
from benchmarks.simulated_fleet import Fleet, FleetRules, State

RECORD, PAGE, PICTURE = ROOT / "docs" / "power.json", ROOT / "docs" / "deploy.md", ROOT / "docs" / "power.svg"
MEMORY_MB = 1769
DAYS, HOUR_S = 30, 3600.0
# Assumed: the three records that Lambda writes itself for an invocation, and the headers of an answer.
PLATFORM_LOG_BYTES, HEADER_BYTES = 900, 300
# CloudWatch Logs counts 26 bytes with each record: Lambda's three and the handler's.
RECORD_BYTES = 4 * 26
# Without batches; template.yaml is held against it.
ALARMS = 6


class MorePrices(NamedTuple):
    """US dollars.

    Attributes:
        http_request: API Gateway, HTTP API, for a request of up to 512 KB.
        log_gb: CloudWatch Logs, taken in.
        metric: CloudWatch, a metric of one's own for a month; for each hour in which it is sent.
        alarm: The same, for an alarm and a month.
        dashboard: The same, for a dashboard and a month.
        trace: X-Ray, for a trace.
        transfer_gb: Out of AWS, for a GB.
        stored_gb: S3 Standard, for a GB and a month.
        kept_gb_second: Lambda, provisioned concurrency: for 1,024 MB and a second.
        snapshot_gb_second: Lambda, SnapStart: the same for a version's snapshot.
        restored_gb: The same: for 1,024 MB that are restored.
    """

    http_request: float = 1.00 / 1e6
    log_gb: float = 0.50
    metric: float = 0.30
    alarm: float = 0.10
    dashboard: float = 3.00
    trace: float = 5.00 / 1e6
    transfer_gb: float = 0.09
    stored_gb: float = 0.023
    kept_gb_second: float = 0.0000041667
    snapshot_gb_second: float = 0.0000015046
    restored_gb: float = 0.0001397998


class Traffic(NamedTuple):
    """A pattern.

    Attributes:
        name: For people.
        rate: Requests a second, by the second of the day.
        most: The highest rate.
        days: How many days of the month are like that; the others have none.
    """

    name: str
    rate: Callable[[float], float]
    most: float
    days: int = DAYS


PATTERNS = (
    Traffic("now and then: 100 a day", lambda _: 100 / (24 * HOUR_S), 100 / (24 * HOUR_S)),
    Traffic("office hours: 2 a second, 9 hours on 22 days", lambda at: 2.0 if at < 9 * HOUR_S else 0.0, 2.0, 22),
    Traffic(
        "day and night: 0 to 40 a second, 20 on average",
        lambda at: 20 - 20 * math.cos(2 * math.pi * at / (24 * HOUR_S)),
        40.0,
    ),
)


class Month(NamedTuple):
    """What is asked in a month.

    Attributes:
        requests: All of them.
        cold: Those that met a new sandbox.
        traces: Those that X-Ray records.
        hours: In how many of its hours anything was asked.
    """

    requests: int
    cold: int
    traces: float
    hours: int


def arrivals(traffic: Traffic, days: int, chance: random.Random) -> Iterator[float]:
    """When requests come, in seconds: at random, by thinning."""
    now, end = 0.0, days * 24 * HOUR_S
    while (now := now + chance.expovariate(traffic.most)) < end:
        if chance.random() * traffic.most <= traffic.rate(now % (24 * HOUR_S)):
            yield now


def simulated(traffic: Traffic, warm_s: float, cold_s: float, *, simulated_days: int, seed: int = 1) -> Month:
    """A month of a pattern: some of its days are simulated, and stand for all."""
    fleet, busy = Fleet(FleetRules()), list[float]()
    seconds: dict[int, int] = {}
    for now in arrivals(traffic, simulated_days, random.Random(seed)):
        while busy and busy[0] <= now:
            fleet.give_back(heapq.heappop(busy))
        state = fleet.take(now)
        heapq.heappush(busy, now + (cold_s if state is State.COLD else warm_s))
        seconds[int(now)] = seconds.get(int(now), 0) + 1
    times = traffic.days / simulated_days
    traced = sum(1 + 0.05 * (count - 1) for count in seconds.values())
    hours = len({second // 3600 for second in seconds})
    return Month(
        round(times * sum(seconds.values())), round(times * fleet.cold_starts), traced * times, round(times * hours)
    )


def lines_of(month: Month, net: Net, size: Size, prices: Prices, more: MorePrices) -> dict[str, float]:
    """A month's costs, by what they are for."""
    warm = month.requests - month.cold
    log_bytes = net.log_bytes + PLATFORM_LOG_BYTES + RECORD_BYTES
    s3 = month.cold * net.gets * prices.s3_get + net.archive_bytes / 1e9 * more.stored_gb
    return {
        "Lambda: warm requests": dollars(size.memory_mb, size.billed_ms, prices, warm),
        "Lambda: cold starts": dollars(size.memory_mb, size.cold_billed_ms, prices, month.cold),
        "HTTP API": month.requests * more.http_request,
        "logs": month.requests * log_bytes / 1e9 * more.log_gb,
        "X-Ray": month.traces * more.trace,
        "S3: fetching and keeping the archive": s3,
        "answers, out of AWS": month.requests * (net.answer_bytes + HEADER_BYTES) / 1e9 * more.transfer_gb,
        "metrics": net.metrics * more.metric * month.hours / (DAYS * 24),
        "alarms and dashboard": ALARMS * more.alarm + more.dashboard,
    }


def start_modes(size: Size, more: MorePrices) -> dict[str, float]:
    """What being ready costs a month, beside what is asked."""
    gb, seconds = size.memory_mb / 1024, DAYS * 24 * HOUR_S
    return {
        "one sandbox kept ready (`StartMode=Provisioned`), a month": gb * seconds * more.kept_gb_second,
        "one version's snapshot (`StartMode=SnapStart`), a month": gb * seconds * more.snapshot_gb_second,
        "a thousand restores of it": 1000 * gb * more.restored_gb,
    }


def months(size: Size) -> list[Month]:
    """The three patterns, simulated for as long as it takes to see them."""
    days = (30, 3, 1)
    return [
        simulated(traffic, size.warm_ms / 1000, size.cold_ms / 1000, simulated_days=count)
        for traffic, count in zip(PATTERNS, days, strict=True)
    ]


def costs_table(net: Net, size: Size, asked: Sequence[Month], prices: Prices, more: MorePrices) -> str:
    """The three patterns side by side, as Markdown."""
    bills = [lines_of(month, net, size, prices, more) for month in asked]
    rows = [
        ("requests", [f"{month.requests:,}" for month in asked]),
        ("of them cold", [f"{month.cold:,} ({month.cold / month.requests:.3%})" for month in asked]),
        *((name, [f"{bill[name]:,.2f}" for bill in bills]) for name in bills[0]),
        ("**together, US$ a month**", [f"**{sum(bill.values()):,.2f}**" for bill in bills]),
        (
            "a million requests, US$",
            [f"{sum(bill.values()) / month.requests * 1e6:,.2f}" for bill, month in zip(bills, asked, strict=True)],
        ),
    ]
    head = f"| | {' | '.join(traffic.name for traffic in PATTERNS)} |\n|{'---|' * (len(PATTERNS) + 1)}\n"
    return head + "".join(f"| {name} | {' | '.join(cells)} |\n" for name, cells in rows)


def modes_table(size: Size, more: MorePrices) -> str:
    """What being ready costs, as Markdown."""
    rows = (f"| {name} | {cost:,.2f} |\n" for name, cost in start_modes(size, more).items())
    return "| | US$ |\n|---|---|\n" + "".join(rows)


def blocks(result: Mapping[str, Any]) -> dict[str, str]:
    """What stands between the page's marks, by their names."""
    nets, prices, more = nets_of(result), Prices(), MorePrices()
    net = nets[MOBILENET]
    (size,) = (each for each in net.sizes if each.memory_mb == MEMORY_MB)
    machine, settings = result["machine"], result["settings"]
    said = busy_warning(machine["cpu_share_of_other_work"]) + (
        f"Measured on {settings['taken']} on {machine['cpus']} CPUs of an {machine['processor']}, of which other work took "
        f"{machine['cpu_share_of_other_work']:.0%} meanwhile: {settings['warm']} warm "
        f"invocations and {settings['cold']} cold starts of each kind.\n\n"
    )
    return {
        "power": said + table(nets, prices),
        "costs": costs_table(net, size, months(size), prices, more),
        "start modes": modes_table(size, more),
    }


def with_blocks(page: str, written: Mapping[str, str]) -> str:
    """The page with these between its marks.

    Raises:
        ValueError: A mark is not there, or twice.
    """
    for name, text in written.items():
        begin, end = f"<!-- {name}: written by python -m benchmarks.power --pages -->\n", f"<!-- end of {name} -->\n"
        page, count = re.subn(f"{begin}.*?{end}", lambda _, new=begin + text + end: new, page, flags=re.DOTALL)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"the page has {count} places for {name}")
    return page


def write_pages(result: Mapping[str, Any]) -> None:
    """Take a result into docs: the record, the tables and the picture."""
    # Only here: matplotlib is no part of the arithmetic.
    from benchmarks.power_picture import draw

    RECORD.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(with_blocks(PAGE.read_text(encoding="utf-8"), blocks(result)), encoding="utf-8")
    draw(nets_of(result), Prices(), [PICTURE])
