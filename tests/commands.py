"""Commands of the command line, called as an operator types them."""

from __future__ import annotations

from collections.abc import Callable

from typer import Typer
from typer.testing import CliRunner


def runner_of(app: Typer) -> Callable[..., str]:
    """Call it with the words of a command and the exit status that it must have; its output, behind what it ended with if that is not 0."""

    def run(*words: str, status: int = 0) -> str:
        result = CliRunner().invoke(app, words)
        assert result.exit_code == status if isinstance(result.exit_code, int) else status == 1, result.output
        return result.output if status == 0 else str(result.exit_code) + result.output

    return run
