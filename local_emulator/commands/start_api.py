"""``start-api``: the function behind an HTTP API on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import sys
import threading

from local_emulator.commands.example import Example, curl_line, file_example, send, text_example
from local_emulator.commands.interrupts import in_thread, raise_on_signals, undisturbed
from local_emulator.commands.options import configure, prepare
from local_emulator.error_payload import in_words
from local_emulator.front_ends import http_api, invoke_api
from local_emulator.function import Function
from local_emulator.http_server import HttpRequest, HttpResponse, HttpServer, Service
from local_emulator.triggers.asynchronous import AsynchronousInvokes
from local_emulator.triggers.reports import line

# API Gateway closes a connection on which nothing comes for so long.
_IDLE_SECONDS = 60.0

# Beyond Lambda's 6 MB, so that each front end can refuse what is too large in its own words.
_MAX_BODY_BYTES = 32 << 20


def start_api(options: argparse.Namespace) -> int:
    """Serve until interrupted. Returns the exit code.

    Raises:
        UsageError: An option cannot be used, or the port is taken.
    """
    examples = [*map(file_example, options.example), *map(text_example, options.example_text)]
    function = prepare(configure(options, os.environ), template=options.template, shell=os.environ)
    server = HttpServer(options.host, options.port, _service(function))
    raise_on_signals()
    try:
        in_thread(lambda: _serve(server, function, examples, options.host)).result()
    except KeyboardInterrupt:
        print("Ending.", file=sys.stderr)
    finally:
        with undisturbed():
            function.close()
            server.server_close()
    return 0


def _service(function: Function) -> Service:
    asynchronous = AsynchronousInvokes(function.invoke, lambda report: _log(line(report)))

    def answer(request: HttpRequest) -> HttpResponse:
        if invoke_api.matches(request):
            return invoke_api.answer(request, function, asynchronous.accept)
        return http_api.answer(request, function.invoke, log=_log)

    return Service(answer, http_api.refuse, _MAX_BODY_BYTES, _IDLE_SECONDS)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _serve(server: HttpServer, function: Function, examples: list[Example], host: str) -> None:
    # Requests that come during INIT wait for the sandbox, as on Lambda; only the announcement waits for INIT's end.
    server.start()
    failure = function.initialise()
    if failure is not None:
        _log(f"INIT failed, so every request will fail until the cause is gone. {in_words(failure.payload)}")
    url = f"http://{f'[{host}]' if ':' in host else host}:{server.port}"
    print(_announcement(url, function.configuration.name), flush=True)
    for example in examples:
        _show(example, url, server)
    threading.Event().wait()


def _announcement(url: str, name: str) -> str:
    return (
        f"{name} listens on {url} (Ctrl-C ends it)\n"
        "  predictions: POST /{model}/predict, /predictions/{model}, /models/{model}/invoke, /invocations\n"
        "  about them:  GET /ping, /models, /models/{model}, /api-description, /docs\n"
        f"  boto3:       client('lambda', endpoint_url='{url}').invoke(FunctionName='{name}', Payload=…)"
    )


def _show(example: Example, url: str, server: HttpServer) -> None:
    host = str(server.server_address[0])
    status, body = send(example, {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), server.port)
    print(f"\n$ {curl_line(example, url)}\n{'' if status == 200 else f'HTTP {status} '}{body}", flush=True)
