"""What the commands share: where they print, how they read settings, and how they tell mistakes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.markup import escape

from proctor.errors import ProctorError
from proctor.logs import set_up_logging
from proctor.settings import Settings

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

EXIT_MISCONFIGURED = 2


@contextmanager
def mistakes_told() -> Iterator[None]:
    """Tell mistakes of the operator in one line on standard error, and exit with 2."""
    try:
        yield
    except* ProctorError as group:
        for failure in _leaves(group):
            setting = f"{failure.field.upper()}: " if failure.field in Settings.model_fields else ""
            _tell(failure.title, setting + failure.detail)
        raise typer.Exit(EXIT_MISCONFIGURED) from None


def _tell(title: str, detail: str) -> None:
    # Escaped, for a detail may hold brackets that are no markup, such as the name of a plugin.
    errors.print(f"[red]{title}:[/] {escape(detail)}")


def _leaves(group: BaseExceptionGroup[ProctorError]) -> Iterator[ProctorError]:
    for member in group.exceptions:
        if isinstance(member, BaseExceptionGroup):
            yield from _leaves(member)
        else:
            yield member


def read_settings(**overrides: Any) -> Settings:
    """Read the settings, with what the command line overrides, and set up logging by them."""
    try:
        settings = Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as failure:
        for fault in failure.errors():
            name = ".".join(map(str, fault["loc"])).upper()
            _tell("Misconfigured", f"{name}: {fault['msg']}")
        raise typer.Exit(EXIT_MISCONFIGURED) from None
    except SettingsError as failure:
        _tell("Misconfigured", f'{failure}; a list is written as JSON, like ["one", "two"]')
        raise typer.Exit(EXIT_MISCONFIGURED) from None
    set_up_logging(settings.log_format, settings.log_level)
    return settings
