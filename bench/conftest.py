"""Options of the benches."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the number of decisions of the growth check be chosen: one million unless told, ten for published figures."""
    parser.addoption("--millions", type=float, default=1.0, help="decisions of the growth check, in millions")
