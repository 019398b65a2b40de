"""Autoscaling as the kernel's tables have it at time 0."""

import numpy as np

from infercast.policies.fleet import Deployment
from infercast.policies.units import US_PER_S, ppm

from ..kernel import layout as at
from ..model import Ints, World


def scaled_of(world: World) -> list[str]:
    """Return the deployments that scale, in the order of the fleet. Raises ValueError for one that nobody declared."""
    unknown = sorted(set(world.scaling) - set(world.fleet.deployment_index))
    if unknown:
        raise ValueError(f"autoscaling: no deployment is called {unknown[0]!r}")
    return [deployment.id for deployment in world.fleet.deployments if deployment.id in world.scaling]


def replicas_at_first(world: World, deployment: Deployment) -> int:
    """Return how many replicas a deployment begins with: those declared, within the bounds of its scaling."""
    scaling = world.scaling.get(deployment.id)
    if scaling is None:
        return deployment.replicas
    return min(max(deployment.replicas, scaling.replicas_min), scaling.replicas_max)


def scaled_tables(world: World) -> dict[str, Ints]:
    """Return the scaled deployments, the ring of their loads, and that of the replicas that they await."""
    names = scaled_of(world)
    table = np.zeros((len(names), at.G_COLS), dtype=np.int64)
    for row, name in zip(table, names, strict=True):
        number = world.fleet.deployment_index[name]
        deployment, scaling = world.fleet.deployments[number], world.scaling[name]
        row[at.G_DEP] = number
        row[at.G_MIN], row[at.G_MAX] = scaling.replicas_min, scaling.replicas_max
        row[at.G_TARGET_PPM] = ppm(scaling.target_ongoing)
        row[at.G_LOOKS] = max(1, scaling.look_back_us // US_PER_S)
        row[at.G_UP_US], row[at.G_DOWN_US] = scaling.upscale_delay_us, scaling.downscale_delay_us
        row[at.G_COLD_US] = scaling.cold_start_us
        row[at.G_CONCURRENCY] = deployment.concurrency
        row[at.G_READY] = replicas_at_first(world, deployment)
        row[at.G_ABOVE_US] = row[at.G_BELOW_US] = at.NONE
    looks = int(table[:, at.G_LOOKS].max(initial=1))
    room = int(table[:, at.G_MAX].max(initial=0)) + 1
    return {
        "scaled": table,
        "loads": np.zeros((max(1, len(names)), looks), dtype=np.int64),
        "starting": np.zeros((max(1, len(names)), room), dtype=np.int64),
    }
