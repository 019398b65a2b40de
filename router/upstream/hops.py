"""The hop record: which clusters a call has come through, each with the number that it settles the call under.

    infercast-hops: 5f0c2ab19d3e4477/fra-812-9c41d07e-17, 0b7d66c2a1f09e35/par-90-e25b3fa0-3

Each cluster adds itself at the end when it sends a call on. A cluster that finds itself in there refuses the call: so a
call goes round in no circle, whatever the policies say. A call with a record is settled where it entered first, and there only.
"""

import re
import secrets
from pathlib import Path

from ..errors import Kind, Trouble
from ..keys import write_private

HEADER = "infercast-hops"
HOPS_MAX = 4
CLUSTER = re.compile(r"[0-9a-f]{16}")
HOP = re.compile(r"([0-9a-f]{16})/([A-Za-z0-9._-]{1,96})")
Hops = tuple[str, ...]


def cluster_id(state: Path) -> str:
    """Return this cluster's id, made the first time and kept in the state folder."""
    path = state / "cluster-id"
    try:
        known = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        known = secrets.token_hex(8)
        write_private(path, known)
    if not CLUSTER.fullmatch(known):
        raise ValueError(f"{path} holds no cluster id; take the file away, and a new one is made")
    return known


def received(value: str | None, *, peer: bool, here: str) -> Hops:
    """Return the record that a call came with, () for none.

    Raises Trouble: BAD_HOPS for one that is malformed, that no peer sent, or that a peer left out; LOOP for a call that
    was here before, or has come through too many clusters.
    """
    if value is None:
        if peer:
            raise Trouble(Kind.BAD_HOPS, f"{HEADER} is missing", "a peer's calls say where they come from")
        return ()
    if not peer:
        raise Trouble(Kind.BAD_HOPS, f"{HEADER} is for peers only", "call without it")
    hops = tuple(hop.strip() for hop in value.split(",")) if len(value) <= 4096 else ("",)
    if not all(HOP.fullmatch(hop) for hop in hops):
        raise Trouble(Kind.BAD_HOPS, f"{HEADER} is malformed", "send CLUSTER/CALL, ...")
    if any(hop.split("/")[0] == here for hop in hops):
        raise Trouble(
            Kind.LOOP, "this call has been here before", "see that no two clusters send each other the same calls"
        )
    if len(hops) > HOPS_MAX:
        raise Trouble(Kind.LOOP, f"this call has come through {len(hops)} clusters", f"at most {HOPS_MAX}")
    return hops


def sent_on(hops: Hops, here: str, number: str) -> str:
    """Return the record of a call that this cluster sends on."""
    return ", ".join((*hops, f"{here}/{number}"))
