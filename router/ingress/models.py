"""What a tenant may know of a model: the same facts for every API."""

from typing import Any

from infercast.policies import kernel
from infercast.policies.faults import did_you_mean

from ..conduct.caller import Caller
from ..errors import Kind, Trouble

EXTENSIONS = ("binary_tensor_data",)
PLATFORM = "onnxruntime_onnx"


def metadata_of(caller: Caller, tenant: str, model: str, version: str = "") -> dict[str, Any]:
    """Return a model's metadata as the Open Inference Protocol has it; `versions` are its variants, or the one named.

    Raises Trouble(NOT_FOUND) for a model that the tenant may not call, and for a version that the model does not have.
    """
    known = caller.engine.models_of(tenant)
    if model not in known:
        raise Trouble(Kind.NOT_FOUND, f"no model is called {model!r}", did_you_mean(model, known))
    versions = [variant.id for variant in caller.fleet.model_by_id[model].variants]
    if version and version not in versions:
        raise Trouble(Kind.NOT_FOUND, f"no version is called {version!r}", did_you_mean(version, versions))
    card = caller.fleet.cards[version or versions[0]]
    return {
        "name": model,
        "versions": [version] if version else versions,
        "platform": PLATFORM,
        "inputs": [tensor.model_dump() for tensor in card.inputs],
        "outputs": [tensor.model_dump() for tensor in card.outputs],
    }


def ready(caller: Caller, model: str = "", version: str = "") -> bool:
    """Return whether a deployment that this entry holds for healthy can run a model, or any model where none is named; none where it is drained itself."""
    fleet, live = caller.fleet, caller.snapshot.live
    if caller.entry in caller.drained:
        return False
    return any(
        live[index, kernel.L_HEALTHY] != 0
        for index, deployment in enumerate(fleet.deployments)
        if model in ("", fleet.model_of[deployment.variant]) and version in ("", deployment.variant)
    )
