"""The command line: every command registers itself with `app` when its module is imported."""

from infercast.commands import (
    call,
    check,
    demo,
    explain,
    keys,
    log,
    log_replay,
    policy,
    policy_diff,
    policy_verify,
    running,
    sim,
    sim_calibrate,
    sim_sweep,
    usage,
)
from infercast.commands.app import app

__all__ = [
    "app",
    "call",
    "check",
    "demo",
    "explain",
    "keys",
    "log",
    "log_replay",
    "main",
    "policy",
    "policy_diff",
    "policy_verify",
    "running",
    "sim",
    "sim_calibrate",
    "sim_sweep",
    "usage",
]


def main() -> None:
    """Run a command."""
    app()
