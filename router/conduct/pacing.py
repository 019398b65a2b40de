"""How soon a tenant's calls are refused for want of room: at once, until there are more of them than do anybody any good.

Callers that come again as soon as they are refused would keep an entry busy with refusing them. Beyond RATE_PER_S, a tenant's
refusals are answered more and more slowly, up to LATEST_US: that many callers then make that many fewer calls. No clock in here.
"""

RATE_PER_S = 100
BURST = 100
"""So many more at once are refused without delay."""
HELD_MAX = 256
"""So many refusals are held back at once at one entry; those beyond are answered: who does not wait for answers gains none by them."""
LATEST_US = 1_000_000
"""A refusal comes no later than this: by then it says to come again in a second."""
STEP_US = 1_000_000 // RATE_PER_S
TENANTS_MAX = 10_000


class Pacing:
    """How far ahead of RATE_PER_S each tenant's refusals are."""

    def __init__(self) -> None:
        self._until_us: dict[str, int] = {}

    def delay_us(self, tenant: str, now_us: int) -> int:
        """Count a refusal, and return how long its answer is held back."""
        if len(self._until_us) >= TENANTS_MAX:
            self._until_us.clear()
        ahead_us = max(0, self._until_us.get(tenant, now_us) - now_us) + STEP_US
        delay_us = max(0, ahead_us - BURST * STEP_US)
        self._until_us[tenant] = now_us + min(ahead_us, BURST * STEP_US + LATEST_US)
        return min(delay_us, LATEST_US)
