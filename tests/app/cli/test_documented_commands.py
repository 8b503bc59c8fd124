"""Every `leo` command in the README and in docs/ is one that exists, with the options that it is shown with."""

import re
import shlex

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from app.cli import app
from app.settings import PROJECT

DOCUMENTS = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```(?:sh|console)\n(.*?)```", flags=re.DOTALL)
COMMAND = re.compile(r"(?:^|[\s(/])leo ([a-z-][^|&>)]*)")


def commands() -> list[tuple[str, str]]:
    """The documents' names, and the arguments of `leo` in them."""
    found = []
    for document in DOCUMENTS:
        for block in BLOCK.findall(document.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                code = re.sub(r"\s#\s.*|^#.*", "", line)
                found += [(document.name, arguments.strip()) for arguments in COMMAND.findall(code)]
    return found


def test_there_are_commands_to_check() -> None:
    names = {arguments.split()[0] for _, arguments in commands()}
    assert {"serve", "classify", "tasks", "train", "evaluate", "compare", "low-rank"} <= names


def parse(words: list[str]) -> None:
    """Read the arguments of `leo` without running anything. Raises for a command, option or value that is none."""
    command, name = get_command(app), "leo"
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        name, *words = words
        command = command.commands[name]
    if "--help" not in words:
        command.make_context(name, words)


@pytest.mark.parametrize(("document", "arguments"), sorted(set(commands())))
def test_a_documented_command_exists_with_its_options(document: str, arguments: str) -> None:
    parse(shlex.split(arguments))


@pytest.mark.parametrize("arguments", ["evaluates --data x", "evaluate --dta x", "evaluate --data x --way"])
def test_a_wrong_command_is_noticed(arguments: str) -> None:
    with pytest.raises(Exception, match=r"evaluates|dta|way"):
        parse(shlex.split(arguments))
