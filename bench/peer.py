"""LiteLLM's Router over the same deployments: what its users have in place of a decision.

It answers with one deployment, drawn at random (`simple-shuffle`, its default) or the one of the least mean latency
(`latency-based-routing`); residency, price, deadlines, load and fallbacks are no part of what is timed here. It is
given what makes it fast: no message to count tokens of (where that is the faster way), no Redis, no callbacks, logs off.
"""

import logging
import os
from random import Random
from typing import Any

from infercast.policies.fleet import Fleet

STRATEGIES = ("simple-shuffle", "latency-based-routing")
MODEL = "m00"


def peer_router(fleet: Fleet, strategy: str) -> Any:
    """Return a `litellm.Router` whose one model group holds every deployment of a fleet, its latencies already learned."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else importing it fetches a price list
    os.environ["LITELLM_LOG"] = "ERROR"
    import litellm

    litellm.telemetry = False
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.ERROR)
    router = litellm.Router(
        model_list=[
            {
                "model_name": MODEL,
                "litellm_params": {
                    "model": f"openai/{deployment.variant}",
                    "api_base": f"http://{deployment.site}.invalid/v1",
                    "api_key": "none",
                },
                "model_info": {"id": deployment.id},
            }
            for deployment in fleet.deployments
        ],
        routing_strategy=strategy,
    )
    if strategy == "latency-based-routing":
        dice = Random(1)
        learned = {
            deployment.id: {"latency": [dice.uniform(0.01, 0.5) for _ in range(10)]} for deployment in fleet.deployments
        }
        # Its own strategy reads this entry of its cache and its own success hook writes it, ten latencies long.
        router.cache.set_cache(key=f"{MODEL}_map", value=learned, ttl=24 * 3600)
    return router
