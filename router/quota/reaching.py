"""A ledger's store that is opened when it is first asked for, so that a worker starts while the ledger is away."""

from collections.abc import Callable

from infercast.policies.faults import BadInput

from ..ledger.opening import open_store
from ..ledger.ports import Store


def reaching(url: str) -> Callable[[], Store]:
    """Return what returns the store of a URL, for use on one thread; it raises OSError as long as it cannot be opened."""
    opened: list[Store] = []

    def reach() -> Store:
        if not opened:
            try:
                opened.append(open_store(url))
            except BadInput as error:
                raise OSError(str(error)) from error
        return opened[0]

    return reach
