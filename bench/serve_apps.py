"""The same model as plain Ray Serve applications, in the cluster that is measured: what a team would write without us.

`one` answers in its ingress. `two` hands the body to a replica at the other site and hands its answer back.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import Response

LABEL = "infercast.io/site"
LOGGING = {"log_level": "WARNING", "enable_access_log": False}
"""The same as ours: a line per call costs Serve as much here as there."""


class Model:
    """The model with the least code around it that answers an infer request."""

    def __init__(self, artefact: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(artefact, options, providers=["CPUExecutionProvider"])

    def answer(self, body: bytes, header_bytes: int | None) -> bytes:
        """Return the answer to an infer request with one input, as JSON or, to a binary one, as bytes."""
        whole = orjson.loads(body[:header_bytes])
        tensor = whole["inputs"][0]
        if header_bytes is None:
            image = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
        else:
            image = np.frombuffer(body, np.float32, offset=header_bytes).reshape(tensor["shape"])
        probabilities, label = self._session.run(None, {"image": image})
        outputs: list[dict[str, Any]] = [
            {"name": "probabilities", "datatype": "FP32", "shape": list(probabilities.shape)},
            {"name": "label", "datatype": "INT64", "shape": list(label.shape)},
        ]
        if header_bytes is None:
            outputs[0]["data"], outputs[1]["data"] = probabilities.ravel().tolist(), label.tolist()
            return orjson.dumps({"model_name": "digits", "outputs": outputs})
        blobs = [probabilities.tobytes(), label.tobytes()]
        for output, blob in zip(outputs, blobs, strict=True):
            output["parameters"] = {"binary_data_size": len(blob)}
        return b"".join([orjson.dumps({"model_name": "digits", "outputs": outputs}), *blobs])


def header_bytes_of(request: Request) -> int | None:
    """Return the length of the JSON part, None where the body is all JSON."""
    given = request.headers.get("inference-header-content-length")
    return None if given is None else int(given)


@serve.deployment
class One:
    """Ingress and model in one."""

    def __init__(self, artefact: str) -> None:
        self._model = Model(artefact)

    async def __call__(self, request: Request) -> Response:
        """Answer one infer request."""
        answer = self._model.answer(await request.body(), header_bytes_of(request))
        return Response(answer, media_type="application/json")


@serve.deployment
class Replica:
    """The model alone."""

    def __init__(self, artefact: str) -> None:
        self._model = Model(artefact)

    async def run(self, body: bytes, header_bytes: int | None) -> bytes:
        """Answer one infer request."""
        return self._model.answer(body, header_bytes)


@serve.deployment
class Two:
    """The ingress before it."""

    def __init__(self, replica: DeploymentHandle) -> None:
        self._replica = replica

    async def __call__(self, request: Request) -> Response:
        """Answer one infer request."""
        answer = await self._replica.run.remote(await request.body(), header_bytes_of(request))
        return Response(answer, media_type="application/json")


def deploy(artefact: str, entry: str, other: str) -> None:
    """Run both in the cluster that this process is connected to: ingresses at `entry`, the replica at `other`."""

    def at(site: str) -> dict[str, Any]:
        options = {"num_cpus": 0, "label_selector": {LABEL: site}}
        return {"num_replicas": 1, "max_ongoing_requests": 10_000, "ray_actor_options": options}

    one: Any = One
    two: Any = Two
    replica: Any = Replica
    serve.run(one.options(**at(entry)).bind(artefact), name="one", route_prefix="/one", logging_config=LOGGING)
    behind = replica.options(**at(other)).bind(artefact)
    serve.run(two.options(**at(entry)).bind(behind), name="two", route_prefix="/two", logging_config=LOGGING)


def main() -> None:
    """Run both in the cluster at an address; Ray has read the environment by now."""
    address, artefact, entry, other = sys.argv[1:]
    import ray

    path = {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    ray.init(address=address, log_to_driver=False, logging_level="error", runtime_env={"env_vars": path})
    deploy(artefact, entry, other)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from bench import serve_apps  # so that replicas find the classes under the name that they are pickled by

    serve_apps.main()
