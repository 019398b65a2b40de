"""Every call that an ingress answers its callers: the one table from which the OpenAPI document and its page are made.

The platform team's calls (`admin.py`) are not theirs to know; they stand in docs/security.md.
"""

from dataclasses import dataclass

from ..errors import Kind

GENERAL = "Open Inference Protocol v2"
DECISION = "Decisions"
OPENAI = "OpenAI"
SELF = "This description"
ALWAYS = (Kind.FAULT,)
KEYED = (*ALWAYS, Kind.UNAUTHENTICATED, Kind.FORBIDDEN)
NAMED = (*KEYED, Kind.NOT_FOUND)
HEALTH = (*ALWAYS, Kind.UNAVAILABLE)
READY = (*NAMED, Kind.UNAVAILABLE)
ASKED = (*KEYED, Kind.BAD_REQUEST, Kind.NOT_FOUND, Kind.SLOW, Kind.TOO_LARGE)
RUN = (
    *ASKED,
    Kind.BAD_HOPS,
    Kind.LOOP,
    Kind.WRONG_ENTRY,
    Kind.REFUSED,
    Kind.LIMITED,
    Kind.OVER_BUDGET,
    Kind.SATURATED,
    Kind.UNAVAILABLE,
    Kind.DEADLINE,
    Kind.NOT_KEPT,
)
VERSIONED = "/v2/models/{model}/versions/{version}"


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. `body` and `answer` name shapes; `kinds` are the troubles that it may end in.

    `runs`: a call that is placed, with the headers of one. `binary`: bytes may follow its JSON. `streams`: it may be
    answered in server-sent events. `media`: the answer's type, where it is no JSON.
    """

    method: str
    path: str
    name: str
    group: str
    summary: str
    answer: str | None = None
    body: str | None = None
    kinds: tuple[Kind, ...] = ALWAYS
    runs: bool = False
    binary: bool = False
    streams: bool = False
    media: str = "application/json"

    @property
    def keyed(self) -> bool:
        """Whether it needs a key."""
        return Kind.UNAUTHENTICATED in self.kinds

    @property
    def error(self) -> str:
        """The shape of its troubles."""
        return "OpenAIError" if self.group == OPENAI else "Error"


OPERATIONS = (
    Operation("get", "/v2", "server", GENERAL, "The server, its version and the extensions that it knows.", "Server"),
    Operation("get", "/v2/health/live", "live", GENERAL, "Whether it is alive.", "Health"),
    Operation("get", "/v2/health/ready", "ready", GENERAL, "Whether it takes calls.", "Health", kinds=HEALTH),
    Operation(
        "get", "/v2/models/{model}", "model", GENERAL, "A model: variants, inputs, outputs.", "Model", kinds=NAMED
    ),
    Operation(
        "get", "/v2/models/{model}/ready", "modelReady", GENERAL, "Whether a model takes calls.", "Ready", kinds=READY
    ),
    Operation(
        "post", "/v2/models/{model}/infer", "infer", GENERAL, "Run a model, wherever the policy places it.",
        "InferAnswer", "InferRequest", RUN, runs=True, binary=True,
    ),
    Operation("get", VERSIONED, "version", GENERAL, "One variant of a model.", "Model", kinds=NAMED),
    Operation("get", f"{VERSIONED}/ready", "versionReady", GENERAL, "Whether it takes calls.", "Ready", kinds=READY),
    Operation(
        "post", f"{VERSIONED}/infer", "inferByVersion", GENERAL, "Run that variant, wherever the policy places it, or none.",
        "InferAnswer", "InferRequest", RUN, runs=True, binary=True,
    ),
    Operation(
        "post", "/v1/decide", "decide", DECISION, "Decide from metadata alone, with every candidate's verdict.",
        "Decision", "DecideRequest", ASKED,
    ),
    Operation("get", "/v1/signals", "signals", DECISION, "What this site knows of deployments.", "Signals", kinds=KEYED),
    Operation("get", "/v1/models", "listModels", OPENAI, "The models that a key may call here.", "ListedModels", kinds=KEYED),
    Operation("get", "/v1/models/{model}", "showModel", OPENAI, "One of them.", "ListedModel", kinds=NAMED),
    Operation(
        "post", "/v1/chat/completions", "chat", OPENAI, "Continue a conversation.",
        "ChatAnswer", "ChatCall", RUN, runs=True, streams=True,
    ),
    Operation(
        "post", "/v1/completions", "complete", OPENAI, "Continue a text.",
        "CompletionAnswer", "CompletionCall", RUN, runs=True, streams=True,
    ),
    Operation(
        "post", "/v1/embeddings", "embed", OPENAI, "Make a vector of each text.",
        "EmbeddingAnswer", "EmbeddingCall", RUN, runs=True,
    ),
    Operation("get", "/openapi.json", "openapi", SELF, "This description, for programs.", "OpenAPI"),
    Operation("get", "/docs", "docs", SELF, "This description, for people.", media="text/html"),
)  # fmt: skip
