"""Parameters of more than 2 GiB, which the predict API takes for a negative size."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gluon_lambda.runtime.engine import Engine
from gluon_lambda.types import TensorSpec
from tests.net_samples import of_symbol

GIGABYTE = 1 << 30
ROWS, WIDTH = 1 << 23, 68
BYTES = ROWS * WIDTH * 4


def write_table(path: Path) -> None:
    """An embedding's table as a params file with holes: zeros, but for the last row."""
    head = struct.pack("<QQQIiiqq", 0x112, 0, 1, 0xF993FAC9, 0, 2, ROWS, WIDTH) + struct.pack("<iii", 1, 0, 0)
    name = b"arg:table"
    with path.open("wb") as file:
        file.write(head)
        file.seek(len(head) + BYTES - WIDTH * 4)
        file.write(np.arange(WIDTH, dtype="<f4").tobytes())
        file.write(struct.pack("<QQ", 1, len(name)) + name)


@pytest.mark.slow
def test_parameters_of_more_than_two_gigabytes_are_served(engine: Engine, mx: Any, tmp_path: Path) -> None:
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if free < 6 * GIGABYTE or shutil.disk_usage(tmp_path).free < 3 * GIGABYTE:
        pytest.skip("needs 6 GiB of free memory and 3 GiB of disk")
    write_table(tmp_path / "large.params")
    assert (tmp_path / "large.params").stat().st_size > 2 * GIGABYTE
    words = mx.sym.Embedding(mx.sym.var("data"), weight=mx.sym.var("table"), input_dim=ROWS, output_dim=WIDTH)
    with (
        (tmp_path / "large.params").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        params = memoryview(content)
        spec = TensorSpec("data", (0, 2), "int32")
        predictor = engine(name="large", symbol=of_symbol(words)[0], params=params, inputs=[spec])
        params.release()
    (answer,) = predictor.predict({"data": np.array([[0, ROWS - 1]], "int32")})
    predictor.close()
    assert answer.tolist() == [[[0.0] * WIDTH, list(range(WIDTH))]]
