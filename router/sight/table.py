"""All metrics: name, type, labels, unit and meaning. What is counted, told, drawn and documented goes by this one table.

Names and units follow Prometheus (base units, `_total`, `_seconds`) and, for texts, OpenTelemetry's conventions for
generative AI as Prometheus writes them. Values of labels are names from the fleet and policy files, or words of ours:
callers' text never becomes one, so there are no more series than the files allow.
"""

from dataclasses import dataclass
from enum import StrEnum


class Shape(StrEnum):
    """What a metric is."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. A histogram's `bounds` are in units of what is counted: microseconds where `scale` is a million."""

    name: str
    shape: Shape
    labels: tuple[str, ...]
    meaning: str
    bounds: tuple[int, ...] = ()
    scale: int = 1


MICRO = 1_000_000
"""Times are counted in microseconds and told in seconds."""
CALL_US = (
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
)  # fmt: skip
STAGE_US = (
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
)  # fmt: skip
# The next four are those that OpenTelemetry's conventions for generative AI advise (semantic conventions 1.37).
REQUEST_US = tuple(10_000 * 2**power for power in range(14))
FIRST_TOKEN_US = (
    1_000, 5_000, 10_000, 20_000, 40_000, 60_000, 80_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_500_000,
    5_000_000, 7_500_000, 10_000_000,
)  # fmt: skip
PER_TOKEN_US = (
    10_000, 25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 400_000, 500_000, 750_000, 1_000_000, 2_500_000,
)  # fmt: skip
TOKENS = tuple(4**power for power in range(14))

WHOSE = ("entry", "tenant", "model")
WHERE = ("entry", "deployment", "site", "model")
GEN_AI = ("entry", "tenant", "site", "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")

CALLS = Metric(
    "infercast_calls_total", Shape.COUNTER, (*WHOSE, "site", "outcome", "reason"),
    "Calls that have ended, as the journal has them: answered, refused or failed, and why.",
)  # fmt: skip
COST = Metric(
    "infercast_cost_usd_total", Shape.COUNTER, (*WHOSE, "site"), "What calls have cost, in USD, by where they ran."
)
RECEIVED = Metric("infercast_received_bytes_total", Shape.COUNTER, WHOSE, "Bytes of bodies taken in.")
ATTEMPTS = Metric(
    "infercast_attempts_total", Shape.COUNTER, ("entry", "model", "site", "kind", "outcome"),
    "Attempts: the first of a call, a retry at the same deployment, a fallback to another, a hedge beside one.",
)  # fmt: skip
DURATION = Metric(
    "infercast_call_duration_seconds", Shape.HISTOGRAM, (*WHOSE, "site", "outcome"),
    "From a call's headers to its end; for a streamed answer, to the end of the stream.", CALL_US, MICRO,
)  # fmt: skip
STAGE = Metric(
    "infercast_stage_duration_seconds", Shape.HISTOGRAM, ("entry", "model", "site", "stage"),
    "Stages of answered calls: auth, decide, queue, network and inference.", STAGE_US, MICRO,
)  # fmt: skip
REQUEST = Metric(
    "gen_ai_server_request_duration_seconds", Shape.HISTOGRAM, (*GEN_AI, "error_type"),
    "Calls of texts and embeddings, answered or not, from their headers to their end.", REQUEST_US, MICRO,
)  # fmt: skip
FIRST_TOKEN = Metric(
    "gen_ai_server_time_to_first_token_seconds", Shape.HISTOGRAM, GEN_AI,
    "Streamed texts: from their headers to the first part of the answer.", FIRST_TOKEN_US, MICRO,
)  # fmt: skip
PER_TOKEN = Metric(
    "gen_ai_server_time_per_output_token_seconds", Shape.HISTOGRAM, GEN_AI,
    "Streamed texts: the time after the first part, for each further token.", PER_TOKEN_US, MICRO,
)  # fmt: skip
USAGE = Metric(
    "gen_ai_client_token_usage", Shape.HISTOGRAM, (*GEN_AI, "gen_ai_token_type"),
    "Tokens of a call, input and output.", TOKENS,
)  # fmt: skip
SPANS = Metric(
    "infercast_spans_total", Shape.COUNTER, ("entry", "result"),
    "Spans of traces: exported, or dropped, since whoever receives them did not.",
)  # fmt: skip
IN_FLIGHT = Metric(
    "infercast_deployment_calls_in_flight", Shape.GAUGE, WHERE, "Calls at a deployment, as this entry believes."
)
HEALTHY = Metric(
    "infercast_deployment_healthy", Shape.GAUGE, WHERE, "1 where this entry sends calls there, 0 where it does not."
)
SIGNAL_AGE = Metric(
    "infercast_signal_age_seconds", Shape.GAUGE, ("entry", "site"), "How old the newest signals of a site are here."
)
JOURNAL_KEPT = Metric(
    "infercast_journal_kept_lines",
    Shape.GAUGE,
    ("entry",),
    "Lines that the disk has not taken; with any, no new call begins.",
)
CIRCUIT = Metric(
    "infercast_circuit_state",
    Shape.GAUGE,
    WHERE,
    "Circuits that are not closed: 2 open, so that no call goes there, 1 half open; 0 again when it closes.",
)
CIRCUITS_OPENED = Metric(
    "infercast_circuits_opened_total", Shape.COUNTER, ("entry",), "How often a circuit has opened."
)
RETRIES_DENIED = Metric(
    "infercast_retries_denied_total", Shape.COUNTER, ("entry",), "Retries that the retry budget did not let be made."
)
UNDER_WAY = Metric("infercast_calls_under_way", Shape.GAUGE, ("entry",), "Calls that an entry is carrying.")
DRAINED = Metric(
    "infercast_site_drained",
    Shape.GAUGE,
    ("entry", "site"),
    "1 for a site that its operator has drained, 0 again after.",
)
WAITING = Metric(
    "infercast_deployment_calls_waiting",
    Shape.GAUGE,
    WHERE,
    "Calls that wait at an entry for their turn at a deployment.",
)
TURN_WAIT = Metric(
    "infercast_turn_wait_seconds", Shape.HISTOGRAM, WHOSE,
    "Of calls that had to wait for their turn: how long, whatever became of them.", CALL_US, MICRO,
)  # fmt: skip
SHED = Metric(
    "infercast_turns_shed_total", Shape.COUNTER, WHERE,
    "Calls, or further tries of them, that were let go since their turn would not have come in time.",
)  # fmt: skip
HELD_BACK = Metric(
    "infercast_refusals_held_back_total", Shape.COUNTER, ("entry",),
    "Refusals for want of room that were answered later than at once, since their tenant had too many.",
)  # fmt: skip
LIMITED = Metric(
    "infercast_limit_refusals_total", Shape.COUNTER, ("entry", "tenant", "limit"),
    "Calls, or further tries of them, that a limit did not let through: by which, or `ledger` where that was out of reach.",
)  # fmt: skip
LEASE_HELD = Metric(
    "infercast_lease_held_ratio", Shape.GAUGE, ("entry", "tenant", "model", "limit"),
    "How much of a limit an entry has leased and not settled: over all entries never more than 1.",
)  # fmt: skip
LEASE_LEFT = Metric(
    "infercast_lease_left_ratio", Shape.GAUGE, ("entry", "tenant", "model", "limit"),
    "How much of a limit an entry may still let through without asking the ledger.",
)  # fmt: skip
LEDGER_AWAY = Metric(
    "infercast_ledger_out_of_reach", Shape.GAUGE, ("entry",),
    "1 while an entry cannot ask the ledger: it spends what it has leased, and then refuses.",
)  # fmt: skip
BUDGET_USED = Metric(
    "infercast_budget_used_ratio", Shape.GAUGE, ("entry", "tenant", "model", "per"),
    "How much of a budget that has `alert_at` is settled in this day or month, as entries where its tenant calls see it.",
)  # fmt: skip
BUDGET_ALERTS = Metric(
    "infercast_budget_alerts_total", Shape.COUNTER, ("entry", "tenant"),
    "Shares of budgets whose spending was told, by the entry that told first.",
)  # fmt: skip
CACHE_CALLS = Metric(
    "infercast_cache_calls_total", Shape.COUNTER, ("entry", "tenant", "model", "result"),
    "Calls for which a kept answer was looked for: `hit`, `similar` or `miss`.",
)  # fmt: skip
CACHE_BYTES = Metric("infercast_cache_kept_bytes", Shape.GAUGE, ("entry", "tenant"), "What kept answers take.")
CACHE_ANSWERS = Metric("infercast_cache_kept_answers", Shape.GAUGE, ("entry", "tenant"), "Answers that are kept.")
CACHE_EVICTED = Metric(
    "infercast_cache_evictions_total", Shape.COUNTER, ("entry", "tenant"),
    "Answers that had to go before their time, for want of room.",
)  # fmt: skip
BUILD = Metric("infercast_build_info", Shape.GAUGE, ("entry", "version"), "1; which version runs.")

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        CALLS, COST, RECEIVED, ATTEMPTS, DURATION, STAGE, REQUEST, FIRST_TOKEN, PER_TOKEN, USAGE, SPANS, IN_FLIGHT,
        HEALTHY, SIGNAL_AGE, JOURNAL_KEPT, CIRCUIT, CIRCUITS_OPENED, RETRIES_DENIED,
        UNDER_WAY, DRAINED, WAITING, TURN_WAIT, SHED, HELD_BACK, LIMITED, LEASE_HELD, LEASE_LEFT, LEDGER_AWAY,
        BUDGET_USED, BUDGET_ALERTS, CACHE_CALLS, CACHE_BYTES, CACHE_ANSWERS, CACHE_EVICTED, BUILD,
    )
}  # fmt: skip
