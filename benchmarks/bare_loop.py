"""The rival of batches: a script that decodes pictures which it holds in memory, and runs the handler's own predictor on them.

``python -m benchmarks.bare_loop FOLDER NET`` with the engine's environment set: the pictures of ``FOLDER``, the exported net of the folder ``NET``.
It writes ``ready``, and then a JSON line for each line it reads: an ``Order`` as JSON is answered by the seconds it took, ``answers`` by what the
net says of each picture. No events, no S3, no checks, no labels (but for ``answers``), no results.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from benchmarks.bare_pixels import CROP, Box, fill, middle
from benchmarks.rivals.image_steps import top_classes
from gluon_lambda.runtime.engine import Engine
from gluon_lambda.runtime.openmp import leave_binding
from gluon_lambda.types import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Batch = NDArray[np.float32]

# Batches that are decoded while one is computed.
AHEAD = 2


class Order(NamedTuple):
    """What is to be run.

    Attributes:
        decoders: Threads that decode ahead; 0 to decode and compute in turn.
        size: Of a batch.
        images: How many; those that there are, over and over.
    """

    decoders: int
    size: int
    images: int


class Picture(NamedTuple):
    """A file and what of it counts."""

    jpeg: bytes
    box: Box


def read_pictures(folder: Path) -> list[Picture]:
    """All pictures of a folder, in the order of their names."""
    return [opened(path.read_bytes()) for path in sorted(folder.glob("*.jpg"))]


def opened(jpeg: bytes) -> Picture:
    """A picture whose box is worked out."""
    return Picture(jpeg, middle(*Image.open(BytesIO(jpeg)).size))


def open_net(folder: Path) -> Callable[[Batch], Batch]:
    """The net as the handler loads it; takes a batch and gives its logits."""
    (symbol,) = folder.glob("*-symbol.json")
    (params,) = folder.glob("*.params")
    inputs = [TensorSpec("data", (0, 3, CROP, CROP))]
    predictor = Engine.open()(name="net", symbol=symbol.read_bytes(), params=params.read_bytes(), inputs=inputs)
    return lambda batch: predictor.predict({"data": batch})[0]


def batches_of(pictures: Sequence[Picture], order: Order) -> Iterator[list[Picture]]:
    """The pictures of each batch."""
    for first in range(0, order.images, order.size):
        yield [pictures[at % len(pictures)] for at in range(first, min(first + order.size, order.images))]


def decoded(pictures: Sequence[Picture]) -> Batch:
    """A batch, decoded by the calling thread."""
    batch = empty(len(pictures))
    for row, picture in zip(batch, pictures, strict=True):
        fill(row, *picture)
    return batch


def empty(count: int) -> Batch:
    """Room for so many pictures."""
    return np.empty((count, 3, CROP, CROP), np.float32)


def decoded_ahead(batches: Iterator[list[Picture]], decoders: int) -> Iterator[Batch]:
    """Batches that as many threads decode, a few ahead of whoever takes them."""
    under_way: deque[tuple[Batch, list[Future[None]]]] = deque()
    # The threads of the one that runs nets would be bound to its CPU.
    with ThreadPoolExecutor(decoders, initializer=leave_binding) as pool:
        for pictures in batches:
            batch = empty(len(pictures))
            rows = [pool.submit(fill, row, *picture) for row, picture in zip(batch, pictures, strict=True)]
            under_way.append((batch, rows))
            if len(under_way) > AHEAD:
                yield waited_for(*under_way.popleft())
        while under_way:
            yield waited_for(*under_way.popleft())


def waited_for(batch: Batch, rows: list[Future[None]]) -> Batch:
    """A batch, once it is whole."""
    for row in rows:
        row.result()
    return batch


def run(order: Order, pictures: Sequence[Picture], net: Callable[[Batch], Batch]) -> float:
    """Run an order; returns the seconds it took."""
    batches = batches_of(pictures, order)
    started = time.perf_counter()
    for batch in decoded_ahead(batches, order.decoders) if order.decoders else map(decoded, batches):
        net(batch)
    return time.perf_counter() - started


def answers(pictures: Sequence[Picture], net: Callable[[Batch], Batch], labels: list[str]) -> list[Any]:
    """What the net says of each picture, as the handler's results have it."""
    return [top_classes(net(decoded([picture]))[0], labels) for picture in pictures]


def serve(folder: Path, net_folder: Path) -> None:
    """Do as told until there is nothing more to read."""
    pictures, net = read_pictures(folder), open_net(net_folder)
    labels = (net_folder / "synset.txt").read_text(encoding="utf-8").splitlines()
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        told = answers(pictures, net, labels) if asked == "answers" else run(Order(*asked), pictures, net)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    # As in the handler, whose models have a thread of their own: it is the one that libgomp binds.
    thread = threading.Thread(target=serve, args=(Path(sys.argv[1]), Path(sys.argv[2])))
    thread.start()
    thread.join()
