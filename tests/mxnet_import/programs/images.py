"""Augmenters, transforms, records and the image iterator."""

import os
import random
import tempfile

import mxnet as mx
import numpy as np
from mxnet import image
from mxnet.gluon.data import DataLoader
from mxnet.gluon.data.vision import transforms

from tests.mxnet_import.digest import show

random.seed(19)
np.random.seed(19)
mx.random.seed(19)
picture = mx.nd.array(np.arange(24 * 20 * 3).reshape(24, 20, 3) % 251, dtype="uint8")
show("resize", image.imresize(picture, 10, 12), image.resize_short(picture, 16))
show("crop", image.center_crop(picture, (8, 8))[0], image.random_crop(picture, (8, 8)))
show("decode", image.imdecode(image.imencode(".png", picture)) if hasattr(image, "imencode") else "no imencode")
for augmenter in image.CreateAugmenter(
    (3, 10, 10), resize=12, rand_crop=True, rand_mirror=True, brightness=0.2, contrast=0.2, mean=True
):
    picture = augmenter(picture)
    show(type(augmenter).__name__, picture)
show("detection", [type(each).__name__ for each in image.CreateDetAugmenter((3, 10, 10), rand_crop=0.5, rand_pad=0.5)])
chain = transforms.Compose([transforms.Resize(9), transforms.ToTensor(), transforms.Normalize(0.5, 0.2)])
show("transforms", chain(mx.nd.array(np.arange(300).reshape(10, 10, 3) % 256, dtype="uint8")))
show(
    "nd.image",
    mx.nd.image.to_tensor(mx.nd.ones((2, 2, 3), dtype="uint8")),
    mx.npx.image.flip_left_right(mx.np.ones((2, 2, 3))),
)
path = os.path.join(tempfile.mkdtemp(), "pictures.rec")
record = mx.recordio.MXRecordIO(path, "w")
for index in range(3):
    record.write(mx.recordio.pack(mx.recordio.IRHeader(0, float(index), index, 0), bytes([index] * 9)))
record.close()
record = mx.recordio.MXRecordIO(path, "r")
show("records", [mx.recordio.unpack(record.read()) for _ in range(3)])
batches = DataLoader(mx.gluon.data.ArrayDataset(mx.nd.arange(10), mx.nd.arange(10) * 2), batch_size=4)
show("loader", [list(each) for each in batches])
