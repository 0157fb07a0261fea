"""What models make of tables: a row of CSV is answered as the same numbers in JSON are."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gluon_lambda.archive_store.archive import Archive, open_archive
from gluon_lambda.archive_store.cache import open_cache
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.batch.formats.csv_rows import NUMBERS, OBJECTS, Columns
from gluon_lambda.batch.formats.opening import open_rows
from gluon_lambda.batch.micro_batches import answered
from gluon_lambda.batch_invocation import columns_of
from gluon_lambda.runtime.engine import Engine
from gluon_lambda.services.batching import batcher_of
from gluon_lambda.services.load import load_service
from gluon_lambda.types import Part, Payload
from tests.conftest import ExportedNet, write_archive
from tests.service_archives import Code, manifest_0_4, opened, signature, write_files


def opened_at(path: Path) -> Archive:
    return open_archive("model", parse_location(str(path)), cache=open_cache(str(path.parent / "cache")))


@pytest.mark.parametrize("header", ["", "a,b,c,d\n"])
def test_a_table_s_numbers_are_the_input_of_a_built_in_service(
    header: str, tmp_path: Path, engine: Engine, export: Callable[..., ExportedNet], mx: Any
) -> None:
    block = mx.gluon.nn.Dense(3)
    block.initialize(mx.init.Xavier())
    net = export(block, mx.nd.ones((1, 4)))
    declared = {
        "input_type": "application/json",
        "output_type": "application/json",
        "inputs": [{"data_name": "data", "data_shape": [0, 4]}],
        "outputs": [],
    }
    archive = opened_at(write_archive(tmp_path / "table.model", net, declared))
    service = load_service(archive, make_predictor=engine)
    assert columns_of(archive) == Columns(("data",), NUMBERS)

    table = f"{header}1,2,3,4\n0.5,-1,7,0\n1,2,x,4\n"
    rows = open_rows(io.BytesIO(table.encode()), key="t.csv", columns=columns_of(archive))
    done = [each for batch in answered(rows, batcher_of(service), size=4) for each in batch]

    asked = [Payload((Part("body", text, "application/json"),)) for text in (b"[1,2,3,4]", b"[0.5,-1,7,0]")]
    expected = [service.predict(each).value["prediction"] for each in asked]
    np.testing.assert_allclose([each.value for each in done[:2]], expected, rtol=1e-5)
    assert [type(each.error).__name__ for each in done] == ["NoneType", "NoneType", "InputMismatch"]


def test_images_have_no_columns_and_a_service_of_mms_0_4_takes_a_list_with_an_object(
    tmp_path: Path, image_archive: Path
) -> None:
    code: Code = {"MANIFEST.json": manifest_0_4("s.py"), "signature.json": signature("application/json"), "s.py": ""}
    assert columns_of(opened_at(image_archive)) == Columns()
    assert columns_of(opened(write_files(tmp_path / "mms", code))) == Columns(("data",), OBJECTS)
