"""The live system: ingress, conduct of calls, replicas, device agent, serving on Ray, telemetry."""

import os

from infercast import __version__

# ONNX Runtime reports home, and keeps an id of the machine in its user's home, unless told not to before it loads.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

VERSION = __version__

__all__ = ["VERSION"]
