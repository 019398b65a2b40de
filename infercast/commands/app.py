"""The command line's front: one word per thing a person wants to do."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from infercast.policies.faults import BadInput
from infercast.system import NotRunning

app = typer.Typer(
    name="infercast",
    help="Anycast for inference: each call runs on the device, at an edge site or in a cloud region, whichever its "
    "tenant's policy allows and values most, and the answer says where it ran and why.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
WIDTH_UNWATCHED = 150
"""Columns where nobody's terminal says how many there are: in logs and pipes."""
out = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH_UNWATCHED)
err = Console(stderr=True)

FleetPath = Annotated[Path, typer.Option("--fleet", help="The fleet file.", envvar="INFERCAST_FLEET")]
PoliciesPath = Annotated[
    Path, typer.Option("--policies", help="Folder of tenants' policies.", envvar="INFERCAST_POLICIES")
]
StatePath = Annotated[
    Path, typer.Option("--state", help="Folder of the running system's state.", envvar="INFERCAST_STATE")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
LedgerUrl = Annotated[
    str,
    typer.Option(
        "--ledger",
        help="Where calls are booked: sqlite:///FILE or postgresql://USER@HOST/DATABASE; if left out, STATE/ledger.db "
        "(for `usage` the one that the last run booked in). "
        "One with a password belongs into the environment: a command line is anybody's to read.",
        envvar="INFERCAST_LEDGER",
        show_default=False,
        show_envvar=True,
    ),
]
FLEET = Path("cluster.yaml")
POLICIES = Path("policies/tenants")
STATE = Path(".infercast")
FAILED, BAD_INPUT = 1, 2


@contextmanager
def refusing() -> Iterator[None]:
    """Turn bad input into one message per fault and exit code 2."""
    try:
        yield
    except BadInput as error:
        for fault in error.faults:
            err.print(f"[red]✗[/] {escape(str(fault))}", highlight=False, soft_wrap=True)
        raise typer.Exit(BAD_INPUT) from error
    except NotRunning as error:
        err.print(f"[red]✗[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(BAD_INPUT) from error


def print_json(value: Any) -> None:
    """Print a value for programs: plain JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
