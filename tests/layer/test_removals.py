"""For each rule of removal: what remains works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gluon_lambda.runtime.libmxnet import find_libmxnet
from layers.removals import RULES
from tests.layer.conftest import Layer

pytestmark = pytest.mark.slow

_MXNET = "from gluon_lambda.runtime import stock_mxnet; stock_mxnet.install(); import mxnet as mx, numpy as np\n"

# A program for each rule, which fails where something is missing that the rule should not have taken.
PROGRAMS = {
    "numpy-openblas": """
import numpy as np
a = np.random.default_rng(0).standard_normal((60, 60))
assert np.allclose(np.linalg.inv(a) @ a, np.eye(60))
mapped = {line.split()[-1] for line in open("/proc/self/maps") if "blas" in line}
assert len(mapped) == 2 and any(path.endswith("mxnet/libopenblas.so.0") for path in mapped), mapped
""",
    "mxnet-fortran": _MXNET
    + """
rng = np.random.default_rng(0)
a, b = rng.standard_normal((90, 40)), rng.standard_normal((90, 3))
x = np.linalg.lstsq(a, b, rcond=None)[0]  # gelsd: names that are put together, powers of 2
assert np.allclose(a.T @ (a @ x), a.T @ b)
u, s, v = np.linalg.svd(a)
assert np.allclose(u[:, :40] * s @ v, a)
square = a[:40]
w, v = np.linalg.eig(square)
assert np.allclose(square @ v, v * w)
q, r = mx.nd.linalg.gelqf(mx.nd.array(a.T))
assert np.allclose((r.asnumpy() @ q.asnumpy()) if r.shape == (40, 40) else (q.asnumpy() @ r.asnumpy()), a.T, atol=1e-4)
u, w = mx.nd.linalg.syevd(mx.nd.array(square + square.T, dtype="float64"))
assert np.allclose(u.asnumpy().T * w.asnumpy() @ u.asnumpy(), square + square.T)
mapped = {line.split()[-1].rpartition("/")[2] for line in open("/proc/self/maps") if "fortran" in line or "quadmath" in line}
assert mapped == {"libgfortran.so.3"}, mapped
""",
    "numpy-tests": _MXNET
    + """
import numpy.testing
np.testing.assert_allclose(np.ones(3), np.ones(3))
from mxnet.test_utils import assert_almost_equal
assert_almost_equal(mx.nd.ones(3), np.ones(3))
with np.testing.assert_raises(AssertionError):
    np.testing.assert_array_equal([1], [2])
""",
    "numpy-simd": """
import math, numpy as np
for dtype in (np.float32, np.float64):
    x = np.linspace(0.1, 3, 1001).astype(dtype)
    for name in ("sin", "cos", "exp", "log", "sqrt", "tanh", "arctan"):
        expected = [getattr(math, name.replace("arctan", "atan"))(float(each)) for each in x]
        assert np.allclose(getattr(np, name)(x), expected, rtol=2e-6), name
for dtype in ("int8", "uint16", "int32", "int64", "float16", "float32", "float64"):
    x = np.random.default_rng(1).integers(0, 100, 5000).astype(dtype)
    assert np.sort(x).tolist() == sorted(x.tolist()) and x.max() == max(x.tolist()) and x.argmin() == x.tolist().index(min(x.tolist()))
""",
    "numpy-building": """
import io, os, warnings, numpy as np, numpy.ctypeslib, numpy.polynomial, numpy.ma, numpy.fft
assert os.path.basename(np.get_include()) == "include"
for kind in (np.random.MT19937, np.random.PCG64, np.random.Philox, np.random.SFC64):
    g = np.random.Generator(kind(7))
    assert g.random(3).shape == (3,) and g.normal(size=2).dtype == float and g.permutation(5).sum() == 10
assert np.random.RandomState(0).randint(0, 9, 4).shape == (4,)
b = io.BytesIO(); np.savez_compressed(b, a=np.arange(5)); b.seek(0)
assert np.load(b)["a"].tolist() == [0, 1, 2, 3, 4]
assert np.allclose(np.fft.ifft(np.fft.fft([1.0, 2, 3])), [1, 2, 3])
assert np.ctypeslib.as_array((__import__("ctypes").c_int * 3)(1, 2, 3)).tolist() == [1, 2, 3]
assert np.polynomial.Polynomial([1, 2])(3) == 7 and np.ma.masked_equal([1, 2], 2).sum() == 1
""",
    "mxnet-headers": _MXNET
    + """
from mxnet.gluon import nn
net = nn.HybridSequential(); net.add(nn.Conv2D(4, 3), nn.BatchNorm(), nn.Dense(2)); net.initialize(); net.hybridize()
assert net(mx.nd.ones((1, 3, 8, 8))).shape == (1, 2)
assert mx.runtime.Features().is_enabled("MKLDNN") and mx.libinfo.find_lib_path()
""",
    "mxnet-tools": _MXNET
    + """
import tempfile, os
path = os.path.join(tempfile.mkdtemp(), "a.rec")
record = mx.recordio.MXRecordIO(path, "w"); record.write(b"one"); record.close()
assert mx.recordio.MXRecordIO(path, "r").read() == b"one"
store = mx.kv.create("local"); store.init(3, mx.nd.ones(2)); out = mx.nd.zeros(2); store.pull(3, out=out)
assert out.asnumpy().tolist() == [1, 1]
""",
    "pillow-avif": """
import io, warnings
from PIL import Image, ImageCms, ImageDraw, ImageFont, UnidentifiedImageError, features
image = Image.new("RGB", (32, 32), (200, 10, 40))
ImageDraw.Draw(image).text((2, 2), "3", font=ImageFont.load_default(12))
assert len(image.getcolors()) > 1
for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "ICO", "PPM"):
    for options in ({}, {"compression": "zstd"}) if kind == "TIFF" else ({},):
        written = io.BytesIO(); image.save(written, kind, **options)
        assert Image.open(io.BytesIO(written.getvalue())).convert("RGB").size == (32, 32), kind
ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("sRGB"))
assert image.resize((8, 8), Image.Resampling.BICUBIC).rotate(90).size == (8, 8)
assert not features.check("avif") and all(features.check(each) for each in ("webp", "jpg", "jpg_2000", "zlib", "libtiff", "freetype2", "littlecms2"))
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.open(io.BytesIO(bytes([0, 0, 0, 32]) + b"ftypavif" + bytes(20)))
except UnidentifiedImageError:
    pass
else:
    raise AssertionError("an AVIF file was opened")
""",
    "type-stubs": """
import pydantic
from fastapi import FastAPI
class Item(pydantic.BaseModel):
    count: int
app = FastAPI()
@app.post("/items")
def take(item: Item) -> Item: return item
assert app.openapi()["paths"]["/items"]["post"]
assert Item.model_validate_json('{"count": 3}').count == 3
""",
    "install-records": """
from importlib.metadata import entry_points, version
import requests, opentelemetry.context
for name in ("numpy", "mxnet", "pillow", "fastapi", "mangum", "pydantic", "pydantic_core", "requests", "opentelemetry-api"):
    assert version(name)[0].isdigit(), name
assert entry_points(group="opentelemetry_context")
token = opentelemetry.context.attach(opentelemetry.context.get_current()); opentelemetry.context.detach(token)
""",
}

_IMPORT_ALL = """
import importlib, json, os, pkgutil, sys, warnings
warnings.simplefilter("ignore")
folder, layer, names, fine = sys.argv[1], sys.argv[2], sys.argv[3:], []
known = {name.partition(".")[0] for name in os.listdir(layer)} | set(sys.stdlib_module_names)
known |= {"gluon_lambda", "distutils", __import__("sysconfig")._get_sysconfigdata_name()}
class Unknown:  # what else is installed where the tests run
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in known:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Unknown())
from gluon_lambda.runtime import stock_mxnet
stock_mxnet.install(lazily=False)
for name in names:
    for found in [name, *(each.name for each in pkgutil.walk_packages([os.path.join(folder, name)], name + ".", onerror=lambda _: None))]:
        if not found.endswith("__main__"):
            try:
                importlib.import_module(found); fine.append(found)
            except BaseException:
                pass
print(json.dumps(fine))
"""

_PACKAGES = (
    "numpy",
    "PIL",
    "mxnet",
    "fastapi",
    "starlette",
    "pydantic",
    "pydantic_core",
    "mangum",
    "anyio",
    "requests",
    "urllib3",
)


def test_every_rule_has_a_program() -> None:
    assert set(PROGRAMS) == {rule.name for rule in RULES}


@pytest.mark.parametrize("rule", PROGRAMS)
def test_what_remains_works(layer: Layer, rule: str) -> None:
    layer.run(PROGRAMS[rule])


def importable(layer: Layer) -> set[str]:
    """The modules of the layer that can be imported."""
    inside = str(layer.folder / "python")
    return set(json.loads(layer.run(_IMPORT_ALL, inside, inside, *_PACKAGES).splitlines()[-1]))


def test_every_module_that_a_full_installation_can_import_can_be_imported_save_those_removed(any_layer: Layer) -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    full = Path(find_libmxnet()).parent.parent
    if any_layer.target.name != here or full == any_layer.folder / "python":
        pytest.skip("no full installation for this Python here: it is that of the running one that is compared with")
    inside = str(any_layer.folder / "python")
    found = importable(any_layer)
    expected = json.loads(
        subprocess.run(
            [sys.executable, "-c", _IMPORT_ALL, str(full), inside, *_PACKAGES],
            env=os.environ | {"PYTHONPATH": str(any_layer.function)},
            capture_output=True,
            check=True,
        ).stdout.splitlines()[-1]
    )
    assert len(found) > 700
    removed = json.loads((any_layer.folder.parent / "report.json").read_text())["removed"]
    gone = tuple(each["path"].removesuffix(".py").split(".cpython-")[0].replace("/", ".") for each in removed)
    # It looks for its own files (docs/layers.md, "Size").
    gone += () if any_layer.has_source else ("numpy.doc",)
    assert [name for name in sorted(set(expected) - found) if not name.startswith(gone)] == []
