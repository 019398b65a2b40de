"""Several calls in one run: where a run costs little more for many inputs than for one (a GPU), and calls wait anyway.

Measured on one CPU thread: squeezenet 12.0 ms an image alone and 12.7 in a batch of 8, resnet50 100 and 105: there it
does not pay, so `batch_max` is 1 unless the fleet file says more.
"""

from collections.abc import Sequence

import numpy as np

from ..errors import Trouble
from ..oip import Infer, parse_infer
from .session import Array, Session

Raw = tuple[bytes, int | None]


def run_batch(session: Session, calls: Sequence[Raw]) -> list[tuple[Infer, dict[str, Array]] | Trouble]:
    """Answer each call, those with good inputs in one run; a bad one gets its own trouble and harms no other.

    Inputs are joined and outputs split along their first axis, which the fleet file's check found to be free.
    """
    parsed = [_parse(session, call) for call in calls]
    good = [call for call in parsed if not isinstance(call, Trouble)]
    answers: dict[int, dict[str, Array]] = {}
    for like in _alike(good):
        answers.update(zip(map(id, like), _run(session, like), strict=True))
    return [call if isinstance(call, Trouble) else (call, answers[id(call)]) for call in parsed]


def _alike(calls: Sequence[Infer]) -> list[list[Infer]]:
    """Put calls together that can be joined: the same sizes behind the first, the same rows in every input."""
    groups: dict[object, list[Infer]] = {}
    for call in calls:
        rows = {len(value) for value in call.inputs.values()}
        sizes = tuple(sorted((name, value.shape[1:]) for name, value in call.inputs.items()))
        groups.setdefault(sizes if len(rows) == 1 else id(call), []).append(call)
    return list(groups.values())


def _parse(session: Session, raw: Raw) -> Infer | Trouble:
    try:
        call = parse_infer(*raw)
        session.check(call.inputs)
        session.outputs(call.outputs)
    except Trouble as trouble:
        return trouble
    return call


def _run(session: Session, calls: Sequence[Infer]) -> list[dict[str, Array]]:
    if len(calls) == 1:
        return [session.run(calls[0].inputs, calls[0].outputs)]
    names = calls[0].inputs
    joined = {name: np.concatenate([call.inputs[name] for call in calls]) for name in names}
    rows = np.cumsum([len(next(iter(call.inputs.values()))) for call in calls])[:-1]
    wanted = tuple(dict.fromkeys(name for call in calls for name in session.outputs(call.outputs)))
    split = {name: np.split(value, rows) for name, value in session.run(joined, wanted).items()}
    return [{name: split[name][at] for name in session.outputs(call.outputs)} for at, call in enumerate(calls)]
