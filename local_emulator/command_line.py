"""``python -m local_emulator start-api | invoke | poll``: the options, and which command runs."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from local_emulator.commands.invoke import invoke
from local_emulator.commands.poll import poll
from local_emulator.commands.start_api import start_api
from local_emulator.errors import EmulatorError

Number = TypeVar("Number", int, float)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code; what the user got wrong is one line on stderr and code 2."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except EmulatorError as error:
        print(f"local_emulator: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local_emulator", description="AWS Lambda on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_start_api(commands.add_parser("start-api", help="serve the function behind an HTTP API until Ctrl-C"))
    _add_invoke(commands.add_parser("invoke", help="send the function one event and print its answer"))
    _add_poll(
        commands.add_parser("poll", help="feed the function from an SQS queue until Ctrl-C, or until it is empty")
    )
    return parser


def _add_start_api(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=start_api)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=3000, help="port to listen on (%(default)s)")
    parser.add_argument(
        "--example", action="append", default=[], metavar="NAME=FILE[;type=TYPE]", help="send this file to a model once"
    )
    parser.add_argument("--example-text", action="append", default=[], metavar="NAME=TEXT", help="send this text once")
    _add_function_options(parser)


def _add_invoke(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=invoke)
    parser.add_argument("-e", "--event", default="", metavar="FILE", help="the event's JSON; - is stdin (default: {})")
    _add_function_options(parser)


def _add_poll(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=poll)
    parser.add_argument("--queue", required=True, metavar="QUEUE", help="the queue's URL, ARN or name")
    parser.add_argument("--endpoint-url", default="", metavar="URL", help="where SQS and S3 are (default: AWS's own)")
    parser.add_argument(
        "--batch-size",
        type=_from_to(int, 1, 10_000),
        default=10,
        metavar="N",
        help="messages in an event (%(default)s)",
    )
    parser.add_argument(
        "--window", type=_from_to(float, 0, 300), default=0.0, metavar="SECONDS", help="how long a batch may fill (0)"
    )
    parser.add_argument(
        "--concurrency", type=_from_to(int, 1, 1_000), default=1, metavar="N", help="how many sandboxes (%(default)s)"
    )
    parser.add_argument(
        "--until-empty",
        type=_from_to(float, 0, 86_400),
        nargs="?",
        const=3.0,
        metavar="SECONDS",
        help="end when nothing has been left to do for so long (3)",
    )
    parser.add_argument(
        "--function-log", default="", metavar="FILE", help="the function's log goes there, not to stderr"
    )
    _add_function_options(parser)


def _add_function_options(parser: argparse.ArgumentParser) -> None:
    _add_list(parser, "--models", "NAME=LOCATION", "models to load: GLUON_MODELS")
    parser.add_argument("--model-store", default="", metavar="LOCATION", help="folder or S3 prefix: GLUON_MODEL_STORE")
    _add_list(parser, "--env", "NAME=VALUE", "environment variables of the function")
    parser.add_argument("--template", default="template.yaml", metavar="FILE", help="SAM template (%(default)s)")
    _add_list(parser, "--parameter-overrides", "NAME=VALUE", "values of the template's parameters")
    parser.add_argument("--function", default="", metavar="NAME", help="which function, where the template has several")


def _add_list(parser: argparse.ArgumentParser, option: str, form: str, text: str) -> None:
    parser.add_argument(option, nargs="+", action="extend", default=[], metavar=form, help=text)


def _from_to(number: type[Number], least: float, most: float) -> Callable[[str], Number]:
    def parse(text: str) -> Number:
        with contextlib.suppress(ValueError):
            if least <= (value := number(text)) <= most:
                return value
        raise argparse.ArgumentTypeError(f"a number from {least:,} to {most:,}, not {text!r}")

    return parse


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"a port from 0 to 65535, not {text!r}")
    return int(text)
