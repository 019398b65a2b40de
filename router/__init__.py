"""The live system: ingress, conduct of calls, replicas, device agent, serving on Ray, telemetry."""

from infercast import __version__

VERSION = __version__

__all__ = ["VERSION"]
