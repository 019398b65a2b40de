"""What a call costs by the tokens that it really used, and the most that it may cost before anybody knows them.

A decision foretells the price of the model's usual call (its card's `usual_tokens`). Of a text that is only a beginning: at
an upstream with `usd_per_million_tokens` it costs what its tokens cost there; on hardware of our own, as much of the usual
call's price as it has tokens of the usual call's (prompt and completion count alike). Everything else costs what was foretold.
"""

from .fleet import Fleet
from .tables import CALL_NUSD_MAX, TOKENS_PRICED
from .units import nusd
from .upstream import TokenPrice

COMPLETION_TOKENS_UNKNOWN = 4096
"""Taken for the most that a model completes, where neither the call, nor the policy, nor the model's card says."""


class Prices:
    """The prices of one fleet's deployments. Money is nano-USD."""

    def __init__(self, fleet: Fleet) -> None:
        self._text = [fleet.model_by_id[fleet.model_of[d.variant]].task != "tensors" for d in fleet.deployments]
        self._embedding = [fleet.model_by_id[fleet.model_of[d.variant]].task == "embedding" for d in fleet.deployments]
        self._usual_nusd = fleet.tables.call_nusd
        cards = [fleet.cards[d.variant] for d in fleet.deployments]
        usual = [card.usual_tokens for card in cards]
        self._usual_tokens = [0 if tokens is None else tokens.prompt + tokens.completion for tokens in usual]
        self._context_tokens = [
            COMPLETION_TOKENS_UNKNOWN if card.text is None else card.text.context_tokens for card in cards
        ]
        self._per_million = [_per_million(d.usd_per_million_tokens) for d in fleet.deployments]
        self._per_call = [min(nusd(d.usd_per_call), CALL_NUSD_MAX) for d in fleet.deployments]

    def settled_nusd(self, index: int, price_nusd: int, prompt_tokens: int, completion_tokens: int) -> int:
        """Return what an answer cost that was foretold to cost `price_nusd`, by its tokens. Never less for more tokens."""
        if not self._text[index]:
            return price_nusd
        per_million = self._per_million[index]
        rest = max(0, price_nusd - self._usual_nusd[index])  # what it computes here, and its traffic
        usual = self._usual_tokens[index]
        if per_million is not None:
            tokens_nusd = -(-(per_million[0] * prompt_tokens + per_million[1] * completion_tokens) // TOKENS_PRICED)
            return rest + self._per_call[index] + tokens_nusd
        if not usual:
            return price_nusd
        return -(-rest * (prompt_tokens + completion_tokens) // usual) + self._per_call[index]

    def most_nusd(self, index: int, price_nusd: int, body_bytes: int, completion_tokens_max: int | None) -> int:
        """Return the most that such a call may cost: its prompt has no more tokens than its body has bytes."""
        if not self._text[index]:
            return price_nusd
        return self.settled_nusd(index, price_nusd, body_bytes, self.completion_max(index, completion_tokens_max))

    def completion_max(self, index: int, asked: int | None) -> int:
        """Return the most tokens that a deployment completes: what is asked for, else the model's context."""
        if self._embedding[index]:
            return 0
        return self._context_tokens[index] if asked is None else asked


def _per_million(price: TokenPrice | None) -> tuple[int, int] | None:
    return None if price is None else (nusd(price.prompt), nusd(price.completion))
