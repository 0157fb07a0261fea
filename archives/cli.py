"""The archive tool's command line: ``python -m archives pack | inspect | validate``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from archives.inspect_archive import describe, lines
from archives.packing import PackRequest, pack, parse_input
from archives.validate import PROBLEM, Finding, as_json_value, parse_part, validate
from gluon_lambda.archive_store.archive import open_archive
from gluon_lambda.archive_store.cache import Cache, open_cache
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.errors import GluonLambdaError
from gluon_lambda.runtime import stock_mxnet
from gluon_lambda.runtime.engine_environment import engine_environment, missing_from, usable_threads

PACK_EXAMPLES = """examples:
  a folder with its manifest          pack digits digits.model
  a folder, manifest written for it   pack digits digits.mar --model-name digits --handler service.py:handle
  an ONNX file                        pack squeezenet.onnx --labels synset.txt
  a Gluon HybridBlock                 pack net.py:build --params net.params --input data=0,1,8,8 -o digits.model
"""


def main(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns:
        The exit code: 0 done, 1 a problem (named on stderr, or by ``validate`` on stdout), 2 a wrong command line.
    """
    options = make_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except (GluonLambdaError, OSError) as error:
        # The system's own words name the file: no permission, no room, no folder.
        print(f"archives {options.command}: {error}", file=sys.stderr)
        return 1
    return code


def make_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = argparse.ArgumentParser(prog="python -m archives", description="Make, show and check model archives.")
    commands = parser.add_subparsers(dest="command", required=True)
    add_pack(commands)
    add_inspect(commands)
    add_validate(commands)
    return parser


def add_pack(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``pack``, with the option names of MMS's mxnet-model-export and model-archiver."""
    command = commands.add_parser(
        "pack",
        help="make an archive; the same input gives the same bytes",
        epilog=PACK_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run_pack)
    command.add_argument("source", nargs="?", help="a folder, an .onnx file, or MODULE:FUNCTION that returns a block")
    command.add_argument("target", nargs="?", help="NAME.model (MMS 0.4) or NAME.mar (MMS 1.x)")
    command.add_argument("--model-path", help="the same as SOURCE")
    command.add_argument("-o", "--output", help="the same as TARGET")
    command.add_argument("--export-path", default=".", help="folder for an archive without a TARGET (default: here)")
    command.add_argument("--model-name", help="write the manifest with this name")
    command.add_argument(
        "--service", "--service-file-path", default="", help="0.4 service file; copied in if elsewhere"
    )
    command.add_argument("--handler", default="", help="1.x handler, module.py:function")
    command.add_argument("--model-version", default="1.0", help="1.x modelVersion (default: %(default)s)")
    command.add_argument("--description", default="", help="free text for the manifest")
    command.add_argument("--signature", help="signature.json of an exported net (default: plain tensors as JSON)")
    command.add_argument("--labels", help="synset.txt, one label a line")
    command.add_argument("--params", help="the block's parameters, as save_parameters wrote them")
    command.add_argument("--input", action="append", default=[], help="NAME=0,3,224,224[:float32], 0 for any size")
    command.add_argument("-f", "--force", action="store_true", help="replace an archive that is there already")


def add_inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``inspect``."""
    command = commands.add_parser("inspect", help="show what is in an archive")
    command.set_defaults(run=run_inspect)
    command.add_argument("location", help="a file, a folder, or s3://bucket/key")
    command.add_argument("--json", action="store_true", help="as JSON")


def add_validate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``validate``."""
    command = commands.add_parser("validate", help="check an archive before it is deployed; runs its code")
    command.set_defaults(run=run_validate)
    command.add_argument("location", help="a file, a folder, or s3://bucket/key")
    command.add_argument("--input", action="append", default=[], help="a real input: NAME=@FILE or NAME=TEXT")
    command.add_argument("--json", action="store_true", help="as JSON")


def run_pack(options: argparse.Namespace) -> int:
    """Pack, and say what came out."""
    request = PackRequest(
        source=options.source or options.model_path or "",
        target=options.output or options.target or "",
        export_folder=Path(options.export_path),
        model_name=options.model_name or "",
        service=options.service,
        handler=options.handler,
        version=options.model_version,
        description=options.description,
        signature=optional_path(options.signature),
        labels=optional_path(options.labels),
        parameters=optional_path(options.params),
        inputs=tuple(parse_input(text) for text in options.input),
        force=options.force,
    )
    target = pack(request)
    print(f"{target}: {target.stat().st_size:,} bytes")
    return 0


def optional_path(text: str | None) -> Path | None:
    """The path of an option that may be absent."""
    return Path(text) if text else None


def run_inspect(options: argparse.Namespace) -> int:
    """Show an archive."""
    with scratch_cache() as cache:
        archive = open_archive("archive", parse_location(options.location), cache=cache)
        description = describe(archive)
        archive.close()
    print(json.dumps(description, indent=2) if options.json else "\n".join(lines(description)))
    return 0


def run_validate(options: argparse.Namespace) -> int:
    """Check an archive; exit code 1 where there is a problem."""
    given = [parse_part(text) for text in options.input]
    with scratch_cache() as cache:
        prepare_engine(cache.folder)
        findings = list(validate(options.location, given, cache))
    if options.json:
        print(json.dumps(as_json_value(findings), indent=2))
    else:
        print("\n".join(line(finding) for finding in findings))
    return 1 if any(finding.level == PROBLEM for finding in findings) else 0


def line(finding: Finding) -> str:
    """A finding for people."""
    return f"{finding.level:<8} {finding.check}: {finding.text}"


@contextmanager
def scratch_cache() -> Iterator[Cache]:
    """A cache that goes when the command is done: archives that are looked at once need not stay."""
    with tempfile.TemporaryDirectory(prefix="archives-") as folder:
        yield open_cache(folder)


def prepare_engine(folder: str) -> None:
    """Set up the process as the handler's INIT does, so that the archive's code finds what it will find there."""
    environment = engine_environment(usable_threads(None), folder)
    del environment["MXNET_ENGINE_TYPE"]  # MXNet says on stderr which one it uses, unless it is its default
    os.environ.update(missing_from(os.environ, environment))
    stock_mxnet.install()
