"""One process that holds a net and runs it when told; started by ``benchmarks.engine_knobs`` with the engine's environment set.

``python -m benchmarks.knob_worker SPEC`` takes a ``Spec`` as JSON. It writes one JSON line when it has answered once, and then one for
each line it reads: ``COUNT GAP`` runs the net COUNT times with a pause of GAP milliseconds before each, and the line written is a ``Turn``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

Run = Callable[[], Any]


class Spec(NamedTuple):
    """What a worker holds.

    Attributes:
        net: Path of the exported net without ``-symbol.json``.
        shape: Of its input, ``data``.
        how: ``exported`` for our own predictor, ``gluon`` for a SymbolBlock of the mxnet package.
        fuse: For ``gluon``: join operators (``optimize_for``).
        static_alloc: For ``gluon``: keep the memory between runs.
        static_shape: For ``gluon``: keep the plan between runs.
        cpus: The CPUs to run on; empty for all.
    """

    net: str
    shape: tuple[int, ...]
    how: str = "exported"
    fuse: bool = False
    static_alloc: bool = True
    static_shape: bool = True
    cpus: tuple[int, ...] = ()


class Turn(NamedTuple):
    """What some runs in succession cost.

    Attributes:
        ms: Milliseconds of each run, from arrays in to arrays out.
        cpu_ms: CPU time for one run, of all threads, with what they spent waiting actively: what a quota is charged.
    """

    ms: list[float]
    cpu_ms: float


def open_net(spec: Spec) -> Run:
    """The net, ready to run on an array of ones."""
    return _exported(spec) if spec.how == "exported" else _gluon(spec)


def _exported(spec: Spec) -> Run:
    import numpy as np

    from gluon_lambda.runtime.engine import Engine
    from gluon_lambda.types import TensorSpec

    array = np.ones(spec.shape, "float32")
    with open(spec.net + "-symbol.json", "rb") as symbol, open(spec.net + "-0000.params", "rb") as params:
        predictor = Engine.open()(
            name="net", symbol=symbol.read(), params=params.read(), inputs=[TensorSpec("data", spec.shape)]
        )
    return lambda: predictor.predict({"data": array})


def _gluon(spec: Spec) -> Run:
    from gluon_lambda.runtime import stock_mxnet

    stock_mxnet.install()
    import mxnet as mx
    import numpy as np

    net = mx.gluon.SymbolBlock.imports(spec.net + "-symbol.json", ["data"], spec.net + "-0000.params")
    array = np.ones(spec.shape, "float32")
    static = {"static_alloc": spec.static_alloc, "static_shape": spec.static_shape}
    if spec.fuse:
        net.optimize_for(mx.nd.array(array), backend="MKLDNN", clear=False, **static)
    else:
        net.hybridize(**static)
    return lambda: net(mx.nd.array(array)).asnumpy()


def timed(run: Run, count: int, gap_ms: float) -> Turn:
    """``count`` runs."""
    taken = []
    used = time.process_time()
    for _ in range(count):
        if gap_ms:
            time.sleep(gap_ms / 1000)
        started = time.perf_counter()
        run()
        taken.append((time.perf_counter() - started) * 1000)
    return Turn(taken, (time.process_time() - used) * 1000 / count)


def peak_kib() -> int:
    """The process's peak resident memory until now."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def serve(text: str) -> None:
    """Open the net, answer once, then run it as told until there is nothing more to read."""
    spec = Spec(**json.loads(text))
    if spec.cpus:
        os.sched_setaffinity(0, spec.cpus)
    started = time.perf_counter()
    run = open_net(spec)
    opened = time.perf_counter()
    run()
    first = (time.perf_counter() - opened) * 1000
    ready = {"open_ms": (opened - started) * 1000, "first_ms": first, "peak_kib": peak_kib()}
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        count, gap = line.split()
        print(json.dumps(timed(run, int(count), float(gap))), flush=True)


if __name__ == "__main__":
    # As in the handler, whose models have a thread of their own: it is the one that libgomp binds.
    thread = threading.Thread(target=serve, args=(sys.argv[1],))
    thread.start()
    thread.join()
