"""The wire formats that this function answers, in the order in which they are tried; the least particular is last."""

from __future__ import annotations

from gluon_lambda.event_sources import alb, direct, function_url, http_api, rest_api
from gluon_lambda.event_sources.wire import EventSource

EVENT_SOURCES: tuple[EventSource, ...] = (alb, function_url, http_api, rest_api, direct)
