"""The command line."""


def main() -> None:
    """Run a command."""
    from infercast.commands.app import app

    app()
