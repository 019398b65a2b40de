"""Declared network paths between places, over the networkx graph of links. A path is the one of least round trip.

Only edge and cloud sites pass traffic on; devices and client zones are ends. Nothing sends into a device.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt

import networkx as nx


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """One link in the engine's units; egress is for bytes that leave the first end, `back` for the second."""

    ends: tuple[str, str]
    rtt_us: int
    spread_us: int
    kbps: int
    egress_nusd_per_gb: int
    egress_back_nusd_per_gb: int
    countries: frozenset[str]


@dataclass(frozen=True, slots=True)
class Path:
    """A way from one place to another. `via` names every place on it; `countries` are those crossed between the ends.

    `spread_us` is p95 minus p50 of the round trip, combined over links as of independent parts (root of the sum of
    squares; see `estimates`).
    """

    via: tuple[str, ...]
    rtt_us: int
    spread_us: int
    kbps: int
    egress_nusd_per_gb: int
    egress_back_nusd_per_gb: int
    countries: frozenset[str]


HERE_KBPS = 1_000_000_000


class Network:
    """All paths of a fleet. One tree of shortest ways is grown from each place that is asked about, on first need.

    `through` gives the country of each place that passes traffic on; `ends` are all places. `leaves` are places that only
    those which pass traffic on send to, and that send nothing themselves: upstreams.
    """

    def __init__(
        self, through: Mapping[str, str], ends: Iterable[str], links: Iterable[LinkFacts], leaves: Iterable[str] = ()
    ) -> None:
        self._through = dict(through)
        self._leaves = frozenset(leaves)
        self._graph: nx.Graph = nx.Graph()
        self._graph.add_nodes_from(ends)
        for link in links:
            known = self._graph.get_edge_data(*link.ends)
            if known is None or link.rtt_us < known["rtt_us"]:
                self._graph.add_edge(*link.ends, rtt_us=link.rtt_us, facts=link)
            elif link.rtt_us == known["rtt_us"]:
                self._graph.add_edge(*link.ends, rtt_us=link.rtt_us, facts=_either(known["facts"], link))
        self._inner = self._graph.subgraph([node for node in self._graph if node in self._through]).copy()
        self._found: dict[tuple[str, str], Path | None] = {}
        self._trees: dict[str, tuple[dict[str, int], dict[str, list[str]]]] = {}

    def path(self, source: str, target: str) -> Path | None:
        """Return the way from source to target, or None where no link leads there."""
        if (source, target) not in self._found:
            self._found[(source, target)] = self._find(source, target)
        return self._found[(source, target)]

    def _find(self, source: str, target: str) -> Path | None:
        if source == target:
            return Path((source,), 0, 0, HERE_KBPS, 0, 0, frozenset())
        if source in self._leaves:
            return None
        if target in self._leaves:
            return self._to_leaf(source, target)
        if target not in self._through or source not in self._graph:
            return None
        if source in self._through:
            via = self._tree(source)[1].get(target)
            return self._along(tuple(via)) if via else None
        lengths, ways = self._tree(target)
        steps = [
            (self._graph.edges[source, place]["rtt_us"] + lengths[place], place)
            for place in self._graph[source]
            if place in lengths
        ]
        return self._along((source, *reversed(ways[min(steps)[1]]))) if steps else None

    def _to_leaf(self, source: str, leaf: str) -> Path | None:
        if source not in self._through:
            return None
        lengths, ways = self._tree(source)
        steps = [
            (lengths[place] + self._graph.edges[place, leaf]["rtt_us"], place)
            for place in self._graph[leaf]
            if place in lengths
        ]
        return self._along((*ways[min(steps)[1]], leaf)) if steps else None

    def _tree(self, root: str) -> tuple[dict[str, int], dict[str, list[str]]]:
        if root not in self._trees:
            self._trees[root] = nx.single_source_dijkstra(self._inner, root, weight="rtt_us")
        return self._trees[root]

    def _along(self, via: tuple[str, ...]) -> Path:
        hops = list(pairwise(via))
        links = [self._graph.edges[hop]["facts"] for hop in hops]
        forward = [_egress(link, hop[0]) for link, hop in zip(links, hops, strict=True)]
        back = [_egress(link, hop[1]) for link, hop in zip(links, hops, strict=True)]
        crossed = frozenset().union(*(link.countries for link in links))
        return Path(
            via=via,
            rtt_us=sum(link.rtt_us for link in links),
            spread_us=isqrt(sum(link.spread_us**2 for link in links)),
            kbps=min(link.kbps for link in links),
            egress_nusd_per_gb=sum(forward),
            egress_back_nusd_per_gb=sum(back),
            countries=crossed | {self._through[place] for place in via[1:-1]},
        )


def _either(one: LinkFacts, other: LinkFacts) -> LinkFacts:
    """Return two equally quick links between the same places as one: bytes may take either, so the worse of each counts."""
    return LinkFacts(
        ends=one.ends,
        rtt_us=one.rtt_us,
        spread_us=max(one.spread_us, other.spread_us),
        kbps=min(one.kbps, other.kbps),
        egress_nusd_per_gb=max(_egress(link, one.ends[0]) for link in (one, other)),
        egress_back_nusd_per_gb=max(_egress(link, one.ends[1]) for link in (one, other)),
        countries=one.countries | other.countries,
    )


def _egress(link: LinkFacts, leaving: str) -> int:
    return link.egress_nusd_per_gb if link.ends[0] == leaving else link.egress_back_nusd_per_gb
