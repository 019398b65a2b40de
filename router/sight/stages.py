"""How the time of an answered call divides into stages."""

from ..api import Api
from ..conduct.endings import Carrying

UNKNOWN_US = -1


def stages_of(
    carrying: Carrying, entry: str, site: str, at_site_us: int, service_us: int
) -> tuple[int, int, int, int, int]:
    """Return auth, decide, queue, network and inference in microseconds; UNKNOWN_US for a stage that it did not go through.

    Of a call with several attempts, the last three are those of the one that was answered; in the queue it was while it waited
    for its turn, too. What a text waits for inside its model is not told apart from its making. A streamed answer's making
    ends with the stream.
    """
    auth_us = carrying.began_us - carrying.arrived_us if carrying.arrived_us else 0
    decide_us = carrying.admitted_us - carrying.began_us
    sent_us = ended_us = 0
    for tried in carrying.tries:
        if not tried.beside:
            decide_us += tried.sent_us - tried.began_us
        if tried.stake is carrying.won:
            sent_us, ended_us = tried.sent_us, tried.ended_us
    turn_us = carrying.queued_us
    if not ended_us:  # answered from what is kept
        return auth_us, decide_us, turn_us or UNKNOWN_US, UNKNOWN_US, UNKNOWN_US
    network_us = UNKNOWN_US if site == entry else max(0, ended_us - sent_us - at_site_us)
    if carrying.api in (Api.CHAT, Api.COMPLETION):
        streamed_us = carrying.ended_us - carrying.begun_us if carrying.begun_us else 0
        return auth_us, decide_us, turn_us or UNKNOWN_US, network_us, at_site_us + streamed_us
    return auth_us, decide_us, turn_us + max(0, at_site_us - service_us), network_us, service_us
