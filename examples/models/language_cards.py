"""Measure a language model that lies in a folder as Hugging Face repositories have it, and write its card.

    python examples/models/language_cards.py .infercast/models/smollm2-135m   writes card.json into that folder

For decoders: the time to the first token of the usual call, and of each token after it. For embedders: a whole call.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

# For those who load this module by path, where its folder is not searched.
sys.path.append(str(Path(__file__).resolve().parent))

if TYPE_CHECKING:
    from examples.models import model_cards as cards
else:
    import model_cards as cards

ARTEFACT = Path("onnx") / "model.onnx"
CACHED = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass(frozen=True)
class Usual:
    """The usual call, which times are measured for: tokens of its prompt, and of the answer (0 for an embedder)."""

    prompt_tokens: int
    completion_tokens: int
    rounds: int = 300


def context_of(folder: Path) -> int:
    """How many tokens the model was made for, as its files say. Raises ValueError."""
    for name, key in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
        if (folder / name).is_file():
            said = json.loads((folder / name).read_text()).get(key)
            if isinstance(said, int) and 0 < said < 10**8:  # some files have a number like 10**30 for "no bound"
                return said
    raise ValueError(f"{folder}: no config.json says max_position_embeddings; give --context-tokens")


def _prompt(session: Any, seed: int, tokens: int) -> cards.Feeds:
    """Feeds of a first step: a prompt of random tokens, and nothing before it."""
    ids = np.random.default_rng(seed).integers(ord("a"), ord("z"), size=(1, tokens))
    given = {
        "input_ids": ids.astype(np.int64),
        "attention_mask": np.ones((1, tokens), np.int64),
        "position_ids": np.arange(tokens, dtype=np.int64)[None],
        "token_type_ids": np.zeros((1, tokens), np.int64),
    }
    for one in session.get_inputs():
        if one.name.startswith("past"):
            given[one.name] = np.zeros((1, one.shape[1], 0, one.shape[3]), CACHED[one.type])
    return {one.name: given[one.name] for one in session.get_inputs()}


def token_times_ms(session: Any, usual: Usual) -> list[float]:
    """Times of each token behind the first, of several usual calls one after the other."""
    times: list[float] = []
    inputs = {one.name for one in session.get_inputs()}
    names = [one.name for one in session.get_inputs() if one.name.startswith("past")]
    wanted = ["logits", *(name.replace("past_key_values", "present") for name in names)]
    for seed in range(1 + max(1, usual.rounds // 10)):
        feeds, seen = _prompt(session, seed, usual.prompt_tokens), usual.prompt_tokens
        for step in range(usual.completion_tokens):
            start_ns = time.perf_counter_ns()
            logits, *present = session.run(wanted, feeds)
            if seed and step:  # the first call only warms up, the first step is the prompt's
                times.append((time.perf_counter_ns() - start_ns) / 1e6)
            last = {"input_ids": logits[:, -1:].argmax(axis=-1), "position_ids": np.array([[seen]])}
            seen += 1
            new = {**last, "attention_mask": np.ones((1, seen), np.int64), **dict(zip(names, present, strict=True))}
            feeds = {name: value for name, value in new.items() if name in inputs}
    return times


def make_card(name: str, folder: Path, context_tokens: int, usual: Usual) -> cards.Card:
    """Measure on one thread and return the card; its artefact is the one in the folder."""
    artefact = folder / ARTEFACT
    session = cards.open_session(artefact)
    feeds = [_prompt(session, seed, usual.prompt_tokens) for seed in (1, 2, 3)]
    (cpu_ms,) = cards.measure_service_times_ms([session], feeds, usual.rounds)
    card = {**cards.make_card(name, artefact, session, None, cpu_ms), "variant": name}
    card["artefact"] = str(ARTEFACT)
    card["text"] = {"tokenizer": "../tokenizer.json", "context_tokens": context_tokens}
    card["usual_tokens"] = {"prompt": usual.prompt_tokens, "completion": usual.completion_tokens}
    if usual.completion_tokens:
        card["token_time_ms"] = {"cpu": cards.service_time_entry(token_times_ms(session, usual))}
    return card


def said_of(card: cards.Card) -> str:
    """Say, in one line, what was measured."""
    cpu_ms, each = card["service_time_ms"]["cpu"], card.get("token_time_ms", {}).get("cpu")
    more = f", each token after it {each['p50']} ms ({1000 / each['p50']:.0f} a second)" if each else ""
    return f"{card['variant']}: p50 {cpu_ms['p50']} ms, p95 {cpu_ms['p95']} ms{more}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure a language model and write its card.")
    parser.add_argument(
        "folder", type=Path, help=f"holds tokenizer.json and {ARTEFACT}; its name becomes the variant's"
    )
    parser.add_argument("--context-tokens", type=int, help="left out: as config.json says")
    parser.add_argument("--prompt", type=int, default=64, help="tokens of the usual prompt (64)")
    parser.add_argument("--completion", type=int, default=32, help="tokens of the usual answer (32); 0 for an embedder")
    parser.add_argument("--rounds", type=int, default=10, help="of three calls each (10)")
    options = parser.parse_args(arguments)
    try:
        missing = [
            str(needed) for needed in (Path("tokenizer.json"), ARTEFACT) if not (options.folder / needed).is_file()
        ]
        if missing:
            return cards.fail(f"{options.folder}: not there: {', '.join(missing)}")
        context_tokens = options.context_tokens or context_of(options.folder)
        usual = Usual(options.prompt, options.completion, options.rounds)
        card = make_card(options.folder.resolve().name, options.folder, context_tokens, usual)
    except (OSError, ValueError, KeyError) as error:
        return cards.fail(str(error))
    cards.write_card(options.folder / "card.json", card)
    print(f"{said_of(card)}, wrote {options.folder / 'card.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
