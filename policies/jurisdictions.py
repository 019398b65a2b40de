"""Countries and the unions above them: Germany is inside the EEA. A place nobody declared is inside nothing."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache

import pycountry

from .faults import did_you_mean

UNKNOWN = "ZZ"
"""ISO 3166 user-assigned code for a place that is not known; it is a member of nothing, so every rule vetoes it."""


@cache
def country_codes() -> frozenset[str]:
    """Return the ISO 3166-1 alpha-2 codes, and the code for an unknown place."""
    return frozenset(country.alpha_2 for country in pycountry.countries) | {UNKNOWN}


class Jurisdictions:
    """Named groups of countries and of other groups, flattened once.

    `declared` maps a group to its members. `faults` holds (group, member, message, remedy) for members nobody knows
    and for circles; a group with a fault is empty, so that it permits nothing.
    """

    def __init__(self, declared: Mapping[str, Iterable[str]]) -> None:
        self._declared = {name: tuple(members) for name, members in declared.items()}
        self.faults: list[tuple[str, str, str, str]] = []
        self._countries: dict[str, frozenset[str]] = {}
        for name in self._declared:
            if name in country_codes():
                self.faults.append((name, name, f"{name!r} is a country's code", "name the group differently"))
            self._countries[name] = self._flatten(name, ())
        wrong = {group for group, *_ in self.faults}
        while more := {name for name in set(self._declared) - wrong if not wrong.isdisjoint(self._declared[name])}:
            wrong |= more
        self._wrong = frozenset(wrong)
        self._permits: dict[tuple[tuple[str, ...] | None, tuple[str, ...]], Callable[[str], bool]] = {}
        self._countries.update(dict.fromkeys(wrong, frozenset()))

    def _flatten(self, name: str, above: tuple[str, ...]) -> frozenset[str]:
        if name in above:
            self.faults.append((above[0], name, f"{' > '.join((*above, name))} is a circle", "remove one step"))
            return frozenset()
        found: set[str] = set()
        for member in self._declared[name]:
            if member in self._declared:
                found |= self._flatten(member, (*above, name))
            elif member in country_codes() and member != UNKNOWN:
                found.add(member)
            elif not above:
                known = [*country_codes() - {UNKNOWN}, *self._declared]
                self.faults.append(
                    (name, member, f"{member!r} is no ISO 3166 country and no group", did_you_mean(member, known))
                )
        return frozenset(found)

    def knows(self, word: str) -> bool:
        """Return whether a word is a country or a declared group."""
        if word in self._countries:
            return word not in self._wrong
        return word in country_codes() and word != UNKNOWN

    def words(self) -> list[str]:
        """Return every country and group that a policy may name."""
        return sorted((country_codes() - {UNKNOWN}) | set(self._countries))

    def countries(self, words: Iterable[str]) -> frozenset[str]:
        """Return all countries inside the named countries and groups. A word nobody knows adds none."""
        found: set[str] = set()
        for word in words:
            found |= self._countries.get(word, frozenset({word} if self.knows(word) else ()))
        return frozenset(found)

    def permits(self, allow: tuple[str, ...] | None, deny: tuple[str, ...]) -> Callable[[str], bool]:
        """Return the question whether a country is permitted; the unknown one never is. `allow` None is everywhere.

        Who denies a place that nobody knows, denies we do not know what: then no country is permitted.
        """
        found = self._permits.get((allow, deny))
        if found is None:
            known = all(self.knows(word) for word in deny)
            world = (country_codes() - {UNKNOWN}) if allow is None else self.countries(allow)
            permitted = (world - self.countries(deny)) if known else frozenset()
            found = self._permits[(allow, deny)] = permitted.__contains__
        return found
