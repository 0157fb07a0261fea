"""Build what every handler is measured with: an exported mobilenet1.0 (17 MB), its labels, and a 38 kB JPEG.

Run by the naive handler's Python, where the stock ``import mxnet`` works: ``python build_workload.py FOLDER``. Nothing
is downloaded: the weights are seeded initial values, the picture is seeded noise, and both are the same on each run.
"""

import io
import json
import sys
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet.gluon.model_zoo import vision
from PIL import Image

# A script of its own: its folder, not the project's root, is on the import path.
sys.path.insert(0, str(Path(__file__).parent / "rivals"))
from image_steps import CROP, MEAN, SHORT_SIDE, STD, TOP, to_batch  # type: ignore[import-not-found]

SEED = 20
CLASSES = 1000
JPEG_SIZE = 38_000
# Resized to the short side this gives whole numbers (384 x 256), so no handler's rounding matters.
PICTURE_SIZE = (600, 400)
# Untrained logits hardly differ. Spread like a trained net's, the top five are well apart and comparable.
LOGIT_SPREAD = 3.0

MANIFEST = {
    "Model-Archive-Version": 0.2,
    "Model-Archive-Description": "mobilenet1.0 with seeded initial weights: for measuring, its answers mean nothing",
    "Model-Server": 0.4,
    "Engine": {"MXNet": "1.9.1"},
    "Model": {
        "Model-Name": "mobilenet",
        "Model-Format": "MXNet-Symbolic",
        "Service": "",
        "Symbol": "mobilenet-symbol.json",
        "Parameters": "mobilenet-0000.params",
        "Signature": "signature.json",
        "Description": "mobilenet1.0 with seeded initial weights",
    },
}

SIGNATURE = {
    "input_type": "image/jpeg",
    "output_type": "application/json",
    "inputs": [
        {
            "data_name": "data",
            "data_shape": [0, 3, CROP, CROP],
            "preprocess": {
                "color": "RGB",
                "resize": SHORT_SIDE,
                "crop": [CROP, CROP],
                "scale": 1 / 255,
                "mean": MEAN,
                "std": STD,
                "layout": "NCHW",
            },
        }
    ],
    "outputs": [
        {
            "data_name": "softmax",
            "data_shape": [0, CLASSES],
            "postprocess": {"softmax": True, "top_k": TOP, "labels": "synset.txt"},
        }
    ],
}


def noise_picture() -> Image.Image:
    """A seeded picture with coarse and fine detail, as a photograph has."""
    rng = np.random.default_rng(SEED)
    layers = []
    for cells, weight in ((4, 0.5), (16, 0.3), (100, 0.2)):
        grid = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        layers.append(weight * np.asarray(grid.resize(PICTURE_SIZE, Image.Resampling.BICUBIC), dtype=np.float64))
    return Image.fromarray(np.sum(layers, axis=0).astype(np.uint8))


def encode(picture: Image.Image, quality: int) -> bytes:
    """The picture as JPEG."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def jpeg_of_size(picture: Image.Image, size: int) -> bytes:
    """The picture as JPEG, at the quality that comes nearest to ``size`` bytes."""
    candidates = (encode(picture, quality) for quality in range(30, 98))
    return min(candidates, key=lambda jpeg: abs(len(jpeg) - size))


def build_net(jpeg: bytes) -> mx.gluon.HybridBlock:
    """mobilenet1.0 with seeded weights, its last layer scaled so that the picture's logits spread."""
    mx.random.seed(SEED)
    np.random.seed(SEED)
    net = vision.get_model("mobilenet1.0", classes=CLASSES)
    net.initialize(mx.init.Xavier())
    net.hybridize()
    batch = mx.nd.array(to_batch(jpeg))
    weight = net.output.weight
    spread = net(batch).asnumpy().std()
    weight.set_data(weight.data() * (LOGIT_SPREAD / spread))
    net(batch).wait_to_read()
    return net


def write_json(path: Path, value: object) -> None:
    """Write ``value`` so that people can read it."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main(folder: Path) -> None:
    """Write picture, net, labels, manifest and signature into ``folder``."""
    archive = folder / "mobilenet"
    archive.mkdir(parents=True, exist_ok=True)
    jpeg = jpeg_of_size(noise_picture(), JPEG_SIZE)
    (folder / "picture.jpg").write_bytes(jpeg)
    build_net(jpeg).export(str(archive / "mobilenet"), epoch=0)
    (archive / "synset.txt").write_text("".join(f"class {index:03}\n" for index in range(CLASSES)), encoding="utf-8")
    write_json(archive / "signature.json", SIGNATURE)
    write_json(archive / "MANIFEST.json", MANIFEST)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
