"""A call that names a version goes to that variant or nowhere; what the policy says of it stays the same."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.engine import Unknown, outcome_of
from infercast.policies.model import Outcome, Rule
from infercast.policies.record import request_as_json, request_as_written, request_from_json
from tests.laws.worlds import World, worlds


@given(worlds(spread=False), st.data())
def test_a_named_version_only_takes_candidates_away(world: World, data: st.DataObject) -> None:
    fleet, engine = world.engine().fleet, world.engine()
    snapshot, request, tried = world.snapshot(fleet), world.request(), world.tried_on(fleet)
    variants = [variant.id for variant in fleet.model_by_id[request.model].variants]
    asked = replace(request, variant=data.draw(st.sampled_from(variants)))
    free, bound = engine.explain(request, snapshot, tried), engine.explain(asked, snapshot, tried)
    for before, after in zip(free.verdicts, bound.verdicts, strict=True):
        other = before.variant != asked.variant
        assert after.rule is (Rule.VERSION if other and before.rule is Rule.NONE else before.rule)
        assert (after.score, after.shares, after.price_nusd) == (before.score, before.shares, before.price_nusd)
    order = [name for name in (free.chosen, *free.alternatives) if name is not None]
    left = [name for name in order if free.verdict_of(name).variant == asked.variant]
    assert [name for name in (bound.chosen, *bound.alternatives) if name is not None] == left
    if not left:
        assert bound.outcome is outcome_of([verdict.rule for verdict in bound.verdicts])
        assert bound.outcome is not Outcome.CHOSEN
    choice = engine.choose(asked, snapshot, tried)
    assert [fleet.deployments[index].id for index in choice.deployments] == left[: len(choice.deployments)]
    assert choice.outcome is bound.outcome
    assert bound.request == asked
    assert engine.explain(request, snapshot, tried) == free, "nothing is left shut"


@given(worlds(), st.data())
def test_a_version_that_is_another_models_or_nobodys_is_unknown(world: World, data: st.DataObject) -> None:
    engine = world.engine()
    request, snapshot = world.request(), world.snapshot(engine.fleet)
    own = {variant.id for variant in engine.fleet.model_by_id[request.model].variants}
    others = [name for name in engine.fleet.cards if name not in own]
    asked = replace(request, variant=data.draw(st.sampled_from([*others, "nobody's"])))
    for decide in (engine.choose, engine.explain):
        with pytest.raises(Unknown) as caught:
            decide(asked, snapshot)
        assert (caught.value.field, caught.value.value) == ("version", asked.variant)


@given(worlds(), st.sampled_from(["", "digits-small"]))
def test_a_request_is_written_with_the_version_that_it_names(world: World, variant: str) -> None:
    request = replace(world.request(), variant=variant)
    written = json.loads(json.dumps(request_as_json(request)))
    assert ("variant" in written) is bool(variant)
    assert request_from_json(written) == request == request_as_written(written, "")
