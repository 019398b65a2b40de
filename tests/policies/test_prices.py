"""What a call costs by its tokens: never more than was set aside for it, and what was foretold for the usual call."""

from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.prices import COMPLETION_TOKENS_UNKNOWN, Prices
from infercast.policies.upstream import TokenPrice
from tests.router.fakes import ROOT, example_fleet

CHAT = next(i for i, d in enumerate(example_fleet().deployments) if example_fleet().model_of[d.variant] == "chat")
DIGITS = next(i for i, d in enumerate(example_fleet().deployments) if example_fleet().model_of[d.variant] == "digits")
CARD = example_fleet().cards[example_fleet().deployments[CHAT].variant]
USUAL = CARD.usual_tokens
assert USUAL is not None


def dear(prompt: float, completion: float, per_call: float = 0.0) -> Fleet:
    """The example fleet, whose first deployment of a text model has a price for tokens."""
    fleet = load_fleet(ROOT / "cluster.yaml")
    price = TokenPrice(prompt=prompt, completion=completion)
    changed = fleet.deployments[CHAT].model_copy(update={"usd_per_million_tokens": price, "usd_per_call": per_call})
    deployments = (*fleet.deployments[:CHAT], changed, *fleet.deployments[CHAT + 1 :])
    return Fleet.model_validate(fleet.model_copy(update={"deployments": deployments}).model_dump(by_alias=True))


def test_tensors_cost_what_was_foretold() -> None:
    prices = Prices(example_fleet())
    assert prices.settled_nusd(DIGITS, 77, 5, 5) == 77
    assert prices.most_nusd(DIGITS, 77, 1_000_000, None) == 77


def test_the_usual_text_costs_what_was_foretold_and_one_of_twice_its_tokens_twice_that() -> None:
    prices = Prices(example_fleet())
    assert USUAL is not None
    assert prices.settled_nusd(CHAT, 900, USUAL.prompt, USUAL.completion) == 900
    assert prices.settled_nusd(CHAT, 900, 2 * USUAL.prompt, 2 * USUAL.completion) == 1800


def test_an_upstream_that_takes_money_for_tokens_is_paid_for_those_that_were_used() -> None:
    fleet = dear(3.0, 15.0, per_call=0.001)
    prices = Prices(fleet)
    foretold = fleet.tables.call_nusd[CHAT] + 40  # 40 of it for traffic
    # 1,000 tokens at 3 USD a million, 100 at 15; a call at 0.001.
    assert prices.settled_nusd(CHAT, foretold, 1000, 100) == 3_000_000 + 1_500_000 + 1_000_000 + 40
    assert USUAL is not None
    assert prices.settled_nusd(CHAT, foretold, USUAL.prompt, USUAL.completion) == foretold


def test_a_call_that_names_no_most_is_taken_for_all_that_fits() -> None:
    prices = Prices(example_fleet())
    assert CARD.text is not None
    assert prices.completion_max(CHAT, None) == CARD.text.context_tokens
    assert prices.completion_max(CHAT, 7) == 7
    assert COMPLETION_TOKENS_UNKNOWN > 0


@given(
    price_nusd=st.integers(0, 10**12),
    body_bytes=st.integers(0, 10**6),
    most=st.integers(0, 10**5),
    prompt=st.integers(0, 10**6),
    completion=st.integers(0, 10**5),
    per=st.tuples(st.integers(0, 100), st.integers(0, 100)),
)
def test_no_call_costs_more_than_was_set_aside(
    price_nusd: int, body_bytes: int, most: int, prompt: int, completion: int, per: tuple[int, int]
) -> None:
    prompt, completion = min(prompt, body_bytes), min(completion, most)
    prices = FREE if per == (0, 0) else DEAR
    for index in (CHAT, DIGITS):
        settled = prices.settled_nusd(index, price_nusd, prompt, completion)
        assert 0 <= settled <= prices.most_nusd(index, price_nusd, body_bytes, most)


FREE = Prices(example_fleet())
DEAR = Prices(dear(0.15, 0.6, per_call=0.0001))
