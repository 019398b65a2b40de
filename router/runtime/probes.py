"""Synthetic calls: a deployment that nobody calls is tried now and then, so that what is believed of it stays true.

Probes run at the deployment's own site, on zeros, when nothing else runs there. They are nobody's calls: no policy
decides on them, no tenant pays for them, and no data is in them.
"""

import numpy as np
import orjson

from infercast.policies.fleet import Card, Deployment, Fleet

from ..api import Api, Asked, Asking
from ..oip import blob_of
from .session import DTYPES

IDLE_US_MIN = 5_000_000
"""A deployment that ran anything in the last 5 s needs no probe."""
IDLE_FACTOR = 200
"""Nor does one that was idle for less than 200 times its own service time: probing takes half a percent of it at most."""
SLOW_IDLE_US_MIN = 1_000_000
SLOW_IDLE_FACTOR = 50
"""One that is believed much slower than declared is probed each second, yet at most for two percent of the time."""


def due(idle_us: int, p50_us: int) -> bool:
    """Return whether a deployment that was idle for so long is to be probed."""
    return idle_us >= max(IDLE_US_MIN, IDLE_FACTOR * p50_us)


def due_when_slow(idle_us: int, took_us: int) -> bool:
    """Return whether one that is believed much slower than declared is to be probed; its last probe took `took_us`.

    That time, not what is believed, sets the pace: else the slower it is believed, the longer it would be so.
    """
    return idle_us >= max(SLOW_IDLE_US_MIN, SLOW_IDLE_FACTOR * took_us)


PROBE_CHAT = b'{"messages":[{"role":"user","content":"."}],"max_tokens":1}'
PROBE_EMBEDDING = b'{"input":"."}'


def probe_of(fleet: Fleet, deployment: Deployment) -> Asked:
    """Return the least call that a deployment can answer: zeros, or one token of text."""
    task = fleet.model_by_id[fleet.model_of[deployment.variant]].task
    if task == "chat":
        return Asking(PROBE_CHAT, api=Api.CHAT)
    if task == "embedding":
        return Asking(PROBE_EMBEDDING, api=Api.EMBEDDING)
    return _zeros(fleet.cards[deployment.variant])


def _zeros(card: Card) -> Asked:
    """Return an infer request of zeros for a variant."""
    tensors, blobs = [], []
    for tensor in card.inputs:
        shape = [1 if size == -1 else size for size in tensor.shape]
        blob = blob_of(np.zeros(shape, DTYPES[tensor.datatype]))
        facts = {"name": tensor.name, "datatype": tensor.datatype, "shape": shape}
        tensors.append({**facts, "parameters": {"binary_data_size": len(blob)}})
        blobs.append(blob)
    header = orjson.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}})
    return Asking(b"".join([header, *blobs]), len(header))
