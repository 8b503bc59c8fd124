"""Run the `leo` command in this process."""

import re

from typer.testing import CliRunner, Result

from app.cli import app


def run_leo(*arguments: object, status: int = 0, **environment: str) -> Result:
    """Run `leo` and check its exit status. The result has `stdout`, `stderr`, and both as `output`."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)
    assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
    return result


def leo_output(*arguments: object, status: int = 0) -> str:
    """Run `leo` and return what it prints, as one line: titles of tables may be wrapped anywhere."""
    return re.sub(r"\s+", " ", run_leo(*arguments, status=status).output)
