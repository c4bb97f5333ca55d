"""`syncwatch wait`: hold a pipeline until images are usable where they are to be deployed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
