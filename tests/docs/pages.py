"""The documentation's pages, and the commands that stand in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "archives").glob("*/README.md")),
]
# What a line of a block without a language, or of an indented one, begins with if it is a command.
_PROGRAMS = ("python ", "curl ", "make ", ".venv/bin/python ")


class Block(NamedTuple):
    """A block of code: its page, its language (``""`` for none) and its lines."""

    page: str
    language: str
    lines: tuple[str, ...]


class Command(NamedTuple):
    """A command that a reader is to type.

    Attributes:
        page: Relative to the root.
        text: The command, on one line.
        output: What the page says that it prints; ``""`` where it does not say.
    """

    page: str
    text: str
    output: str = ""


def blocks(page: Path) -> Iterator[Block]:
    """The page's blocks of code, fenced and indented."""
    text, name = page.read_text(encoding="utf-8"), str(page.relative_to(ROOT))
    fenced = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    for match in fenced.finditer(text):
        yield Block(name, match[1], tuple(match[2].splitlines()))
    for match in re.finditer(r"(?:^    .*\n)+", fenced.sub("", text), re.MULTILINE):
        yield Block(name, "", tuple(line.strip() for line in match[0].splitlines()))


def commands(page: Path) -> list[Command]:
    """The page's commands, in their order."""
    return [command for block in blocks(page) for command in _commands_of(block)]


def all_commands() -> list[Command]:
    """The commands of every page."""
    return [command for page in PAGES for command in commands(page)]


def _commands_of(block: Block) -> list[Command]:
    if block.language == "console":
        return _with_output(block)
    lines = [_without_comment(line) for line in _joined(block.lines)]
    if block.language == "sh":
        return [Command(block.page, line) for line in lines if line]
    programs = [line for line in lines if not block.language and line.startswith(_PROGRAMS)]
    return [Command(block.page, line) for line in programs]


def _with_output(block: Block) -> list[Command]:
    found: list[Command] = []
    for line in _joined(block.lines):
        if line.startswith("$ "):
            found.append(Command(block.page, _without_comment(line[2:])))
        elif found:
            found[-1] = found[-1]._replace(output=f"{found[-1].output}{line}\n")
    return found


def _joined(lines: tuple[str, ...]) -> list[str]:
    """The lines, those that end with a backslash joined to the next one."""
    return re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()


def _without_comment(line: str) -> str:
    return re.sub(r"\s+# .*$", "", line).strip()
