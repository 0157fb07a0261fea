"""``mms.metrics``: what handlers count, with the dimensions that MMS dropped."""

from __future__ import annotations

import json

import pytest

from mms.metric import Metric as OldMetric
from mms.metric import MetricUnit
from mms.metrics.dimension import Dimension
from mms.metrics.metric_encoder import MetricEncoder
from mms.metrics.metrics_store import MetricsStore
from mms.metrics_manager import MetricsManager
from mms.storage import KVStorage


def store() -> MetricsStore:
    return MetricsStore({0: "r0", 1: "r1"}, "model")


def test_counters_add_up_and_times_keep_the_last_value() -> None:
    it = store()
    for value in (1, 2):
        it.add_counter("Seen", value, 0)
        it.add_time("Took", value, 0)
    assert [(each.name, each.value, each.unit) for each in it.store] == [
        ("Seen", 3, "Count"),
        ("Took", 2, "Milliseconds"),
    ]


def test_dimensions_are_kept_by_every_method_and_split_a_metric() -> None:
    it = store()
    for kind in "ab":
        own = [Dimension("Kind", kind)]
        it.add_time("T", 1, dimensions=own)
        it.add_size("S", 1, dimensions=own)
        it.add_percent("P", 1, dimensions=own)
        it.add_metric("M", 1, dimensions=own)
        it.add_error("E", "text", dimensions=own)
        it.add_counter("C", 1, dimensions=own)
        assert len(own) == 1
    assert len(it.store) == 12
    assert all(str(each.dimensions[0]) == "Kind:a" for each in it.store[:6])
    assert [str(each) for each in it.store[0].dimensions] == ["Kind:a", "ModelName:model", "Level:Model"]
    assert str(it.store[4].dimensions[-1]) == "Level:Error"


@pytest.mark.parametrize(("method", "unit"), [("add_time", "MB"), ("add_size", "ms")])
def test_a_unit_of_another_kind_is_refused(method: str, unit: str) -> None:
    with pytest.raises(ValueError, match=unit):
        getattr(store(), method)("name", 1, unit=unit)


def test_dimensions_that_are_no_list_are_refused() -> None:
    with pytest.raises(ValueError, match="list of dimensions"):
        store().add_counter("name", 1, dimensions=Dimension("a", "b"))  # type: ignore[arg-type]


def test_a_metric_is_written_as_mms_s_line_and_as_json() -> None:
    it = store()
    it.add_time("Took", 1.5, 1, unit="s")
    assert str(it.store[0]).startswith("Took.Seconds:1.5|#ModelName:model,Level:Model|#hostname:")
    assert str(it.store[0]).endswith(",r1")
    written = json.loads(json.dumps(it.store[0], cls=MetricEncoder))
    assert (written["MetricName"], written["Dimensions"][0]) == ("Took", {"name": "ModelName", "value": "model"})


def test_a_metric_for_the_whole_batch_names_all_requests() -> None:
    it = store()
    it.add_counter("Seen", 1)
    assert it.store[0].request_id == "r0,r1"


def test_mms_0_4_s_metrics_can_be_asked_for_and_updated() -> None:
    assert "model_LatencyInference" not in MetricsManager.metrics
    metric = OldMetric("Own", None, model_name="model", unit=MetricUnit["ms"], aggregate_method="interval_sum")
    metric.update(3)
    assert (metric.value, metric.unit) == (3, "Milliseconds")
    assert KVStorage("kept").name == "kept"
