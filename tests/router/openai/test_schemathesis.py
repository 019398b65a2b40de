"""Calls made up from the served OpenAPI document, good and bad, against a running entry: what comes back is as described."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks

from infercast.router.ingress.operations import OPERATIONS, Operation
from tests.router.openai.tiny import Entry, entry

EXAMPLES = 20
MODELS = {"ChatCall": "chat", "CompletionCall": "chat", "EmbeddingCall": "embedding"}
GOOD, BAD = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
TRIED = [
    *((operation, GOOD) for operation in OPERATIONS),
    *((operation, BAD) for operation in OPERATIONS if operation.body is not None),
]
load_all_checks()
UNTOLD = [
    schemathesis.checks.CHECKS.get_one(name)
    for name in (
        # No shape says which data classes a tenant has, how many values a tensor takes, which tokens a model knows,
        "positive_data_acceptance",
        # or that a thousandth of a millisecond is too short for an answer (504).
        "not_a_server_error",
        # It takes our valid key for one of its own making. `test_client.py` has the calls without a key.
        "ignored_auth",
    )
]


@pytest.fixture(scope="module")
def running() -> Iterator[Entry]:
    with entry("fra") as found:
        yield found


@pytest.mark.parametrize(("operation", "mode"), TRIED, ids=lambda one: getattr(one, "name", str(one)))
def test_what_comes_back_is_as_described(running: Entry, operation: Operation, mode: GenerationMode) -> None:
    described = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    described.config.update(base_url=running.url)
    # A body for which the deadline in its header leaves no time is given up before anybody looks at it.
    rejected = described.config.checks.negative_data_rejection.expected_statuses
    described.config.checks.negative_data_rejection.expected_statuses = [*rejected, "408"]

    @settings(max_examples=EXAMPLES)
    @given(described.find_operation_by_id(operation.name).as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        if mode is GOOD and operation.body in MODELS:
            case.body["model"] = MODELS[operation.body]
            case.headers.pop("infercast-class", None)
        case.headers["authorization"] = f"Bearer {running.secrets['player']}"
        answer = case.call_and_validate(excluded_checks=UNTOLD)
        assert answer.status_code != 500

    check()
