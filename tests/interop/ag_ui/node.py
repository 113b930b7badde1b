"""The stock client of AG-UI, and the program that drives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from tests.interop.npm import drive, install_in

HERE: Final = Path(__file__).parent


def install() -> None:
    """Install the stock client, or skip; what should have succeeded fails in CI."""
    install_in(HERE, "--omit=optional")


def play(
    base_url: str, scenarios: Sequence[str], asked: Callable[[str], None] | None = None
) -> dict[str, dict[str, Any]]:
    """Play scenarios with the stock client; what came of each. `asked` does what one asks for."""
    return drive(HERE, [base_url, *scenarios], asked)
