"""The operators of detection nets, imperatively and as a symbol."""

import mxnet as mx
from mxnet import nd, sym
from mxnet.ndarray import contrib
from mxnet.ndarray.contrib import MultiBoxPrior, MultiBoxTarget, box_nms

from tests.mxnet_import.digest import show

mx.random.seed(13)
features = nd.random.uniform(shape=(1, 3, 4, 4))
anchors = MultiBoxPrior(features, sizes=(0.5, 0.25), ratios=(1, 2, 0.5))
show("prior", anchors)
labels = nd.array([[[0, 0.1, 0.1, 0.4, 0.5], [1, 0.5, 0.4, 0.9, 0.9]]])
scores = nd.softmax(nd.random.normal(shape=(1, 3, anchors.shape[1])), axis=1)
show("target", MultiBoxTarget(anchors, labels, scores, overlap_threshold=0.5))
offsets = nd.random.normal(scale=0.1, shape=(1, anchors.shape[1] * 4))
found = nd.contrib.MultiBoxDetection(scores, offsets, anchors, nms_threshold=0.4, force_suppress=True)
show("detection", found)
show("nms", box_nms(found, overlap_thresh=0.3, valid_thresh=0.05, id_index=0, score_index=1, coord_start=2))
show("iou", contrib.box_iou(anchors[0, :5], anchors[0, 5:10]))
rois = nd.array([[0, 0, 0, 2, 2], [0, 1, 1, 3, 3]])
show("roi", contrib.ROIAlign(features, rois, (2, 2), 1.0), nd.ROIPooling(features, rois, (2, 2), 1.0))
show(
    "resize",
    contrib.BilinearResize2D(features, height=7, width=5),
    contrib.AdaptiveAvgPooling2D(features, output_size=2),
)
symbol = sym.contrib.MultiBoxPrior(sym.Variable("data"), sizes=(0.3,), ratios=(1, 2))
show("symbol", symbol.infer_shape(data=(1, 3, 4, 4)), symbol.bind(mx.cpu(), {"data": features}).forward())
