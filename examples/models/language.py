"""A tiny decoder of the Llama architecture and a tiny embedder, with seeded weights: they serve, and mean nothing.

    python examples/models/language.py           build into .infercast/models, measure, write the cards
    python examples/models/language.py --check   measure nothing; compare what is built with the cards

Each becomes a folder as Hugging Face repositories have it: `config.json`, `tokenizer.json`, `tokenizer_config.json`
(with the chat template), `generation_config.json` and `onnx/model.onnx`. So a real model of this family takes its place as it is
(docs/models.md). The tokeniser takes bytes for tokens. Weights are random, but for one thing: letters and blanks are
likelier than other bytes, so that what comes out can be printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

# For those who load this module by path, where its folder is not searched.
sys.path.append(str(Path(__file__).resolve().parent))

if TYPE_CHECKING:
    from examples.models import language_cards as measuring
    from examples.models import llama_graph as llama
    from examples.models import model_cards as cards
else:
    import language_cards as measuring
    import llama_graph as llama
    import model_cards as cards

HERE = Path(__file__).resolve().parent
Floats = npt.NDArray[np.float32]

SEED = 20261125
RECIPE = f"recipe-1-seed-{SEED}"  # renumber when weights, graph or tokeniser change, or stale artefacts pass as current
DEFAULT_OUT = Path(".infercast/models")
BYTES = 256
END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
MARKS = (END, START, STOP)
CONTEXT_TOKENS = 1024

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role not in ['system', 'user', 'assistant', 'developer', 'tool'] %}"
    "{{ raise_exception('no role is called ' ~ message.role) }}"
    "{% endif %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# One coordinate of the embedding is the same for every token, and no layer writes to it: past the last norm it is about
# STEADY / rms of the vector, so that its row in the head prefers tokens whatever the text. How likely letters are:
# from the frequencies of English, rounded.
STEADY = 8.0
LETTERS = {
    **dict.fromkeys("e", 2.4), **dict.fromkeys("taoin", 2.0), **dict.fromkeys("shr", 1.8), **dict.fromkeys("dlu", 1.3),
    **dict.fromkeys("cmfwygpb", 0.7), **dict.fromkeys("vk", 0.0), **dict.fromkeys("xqjz.,", -1.5), " ": 2.9, "\n": -2.0,
}  # fmt: skip
OTHERS, STOPS = -9.0, -2.0
"""Log likelihoods of every other byte, and of the mark that ends a text."""


@dataclass(frozen=True)
class Variant:
    """One model of the script, and the usual call that its times are measured for."""

    name: str
    shape: llama.Shape
    usual: measuring.Usual


SHAPE = llama.Shape(vocabulary=BYTES + len(MARKS), positions=CONTEXT_TOKENS)
VARIANTS = {
    "tiny-llama": Variant("tiny-llama", SHAPE, measuring.Usual(64, 32)),
    "tiny-embed": Variant("tiny-embed", replace(SHAPE, layers=1), measuring.Usual(32, 0)),
}


def make_weights(shape: llama.Shape, seed: int = SEED) -> llama.Weights:
    """Random weights of a size that keeps activations and logits near 1; the head's steady row as told above."""
    rng = np.random.default_rng(seed)

    def near(rows: int, columns: int, gain: float = 1.0) -> Floats:
        return rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(gain * rows**-0.5)

    keys = shape.key_heads * shape.head_size
    weights = {"embed": rng.standard_normal((shape.vocabulary, shape.width), dtype=np.float32)}
    weights["embed"][:, 0] = STEADY
    for layer in range(shape.layers):
        named = {
            "q": near(shape.width, shape.width, 2.0),
            "k": near(shape.width, keys, 2.0),
            "v": near(shape.width, keys),
            "o": near(shape.width, shape.width),
            "gate": near(shape.width, shape.inner),
            "up": near(shape.width, shape.inner),
            "down": near(shape.inner, shape.width),
        }
        for writes in ("o", "down"):
            named[writes][:, 0] = 0.0
        for norm in ("norm_in", "norm_out"):
            named[norm] = np.float32(1.0) + np.float32(0.1) * rng.standard_normal(shape.width, dtype=np.float32)
        weights |= {f"{layer}.{name}": value for name, value in named.items()}
    weights["norm"] = np.ones(shape.width, np.float32)
    if not shape.tied:
        weights["head"] = near(shape.width, shape.vocabulary, 2.0)
        weights["head"][0] = likelihoods(shape.vocabulary) / np.float32(STEADY / 2)
    return weights


def likelihoods(vocabulary: int) -> Floats:
    """How likely each token is before any text, as a logarithm up to a constant."""
    values = np.full(max(vocabulary, BYTES + len(MARKS)), OTHERS, np.float32)
    for letter, value in LETTERS.items():
        values[ord(letter)] = value
    values[BYTES + MARKS.index(STOP)] = STOPS
    return values[:vocabulary]


def byte_letters() -> list[str]:
    """The letter that stands for each byte in byte-level vocabularies (Radford et al. 2019): printable bytes are themselves."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    strays = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(strays)) for byte in range(BYTES)]


def make_tokenizer() -> Tokenizer:
    """A tokeniser whose first 256 tokens are the bytes; the marks of the chat template come behind them."""
    vocabulary = {letter: byte for byte, letter in enumerate(byte_letters())}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    return tokenizer


def hugging_face_config(shape: llama.Shape) -> dict[str, Any]:
    """The sizes in the words of Hugging Face's Llama."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_heads,
        "max_position_embeddings": shape.positions,
        "rms_norm_eps": shape.epsilon,
        "rope_theta": shape.rope_base,
        "tie_word_embeddings": shape.tied,
        "vocab_size": shape.vocabulary,
    }


def side_files(variant: Variant) -> dict[str, bytes]:
    """What stands beside the ONNX file, by name."""

    def written(value: Any) -> bytes:
        return (json.dumps(value, indent=2) + "\n").encode()

    config: dict[str, Any] = {"eos_token": STOP, "pad_token": END, "model_max_length": CONTEXT_TOKENS}
    files = {"tokenizer.json": (make_tokenizer().to_str(pretty=True) + "\n").encode()}
    if variant.usual.completion_tokens:
        config["chat_template"] = CHAT_TEMPLATE
        ends = [BYTES + MARKS.index(mark) for mark in (STOP, END)]
        files["config.json"] = written(hugging_face_config(variant.shape))
        files["generation_config.json"] = written({"eos_token_id": ends, "pad_token_id": ends[1]})
    return {**files, "tokenizer_config.json": written(config)}


def make_artefact(variant: Variant) -> bytes:
    """The ONNX file; equal on every machine with the same numpy and onnx."""
    write = llama.decoder if variant.usual.completion_tokens else llama.embedder
    return write(variant.name, variant.shape, make_weights(variant.shape))


def build(name: str, out: Path) -> Path:
    """Build one model's folder unless a current one is there; return the path of its artefact."""
    variant, artefact = VARIANTS[name], out / name / measuring.ARTEFACT
    for file, content in side_files(variant).items():
        if not (path := out / name / file).is_file() or path.read_bytes() != content:
            cards.write_atomically(path, content)
    if cards.is_current(artefact, RECIPE):
        print(f"{name}: {artefact} is current", flush=True)
        return artefact
    cards.write_artefact(artefact, make_artefact(variant), RECIPE)
    print(f"{name}: wrote {artefact.stat().st_size} bytes to {artefact}", flush=True)
    return artefact


def refresh_card(name: str, artefact: Path, folder: Path) -> None:
    """Measure and write the card unless the one there describes these very bytes."""
    path = folder / f"{name}.card.json"
    if path.exists() and cards.read_card(path).get("sha256") == cards.sha256_of(artefact):
        print(f"{name}: {path.name} describes this artefact", flush=True)
        return
    card = measuring.make_card(name, artefact.parents[1], CONTEXT_TOKENS, VARIANTS[name].usual)
    cards.write_card(path, card)
    print(f"{measuring.said_of(card)}, wrote {path.name}", flush=True)


def difference_from_card(name: str, artefact: Path, folder: Path) -> str | None:
    """Say, in one line, how the artefact departs from its card; None when it does not."""
    if not artefact.is_file():
        return f"{name}: {artefact} not found; run without --check to build it"
    said, built = cards.read_card(folder / f"{name}.card.json").get("sha256"), cards.sha256_of(artefact)
    return None if said == built else f"{name}: sha256 is {built}, the card says {said}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build, measure and check the tiny language models.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help=f"folder of the artefacts ({DEFAULT_OUT})")
    parser.add_argument("--check", action="store_true", help="compare what is built with the cards")
    options = parser.parse_args(arguments)
    problems: list[str] = []
    try:
        for name in VARIANTS:
            if options.check:
                artefact = options.out / name / measuring.ARTEFACT
                problems += filter(None, [difference_from_card(name, artefact, HERE)])
            else:
                refresh_card(name, build(name, options.out), HERE)
    except (OSError, ValueError) as error:
        return cards.fail(str(error))
    return cards.fail("; ".join(problems)) if problems else 0


if __name__ == "__main__":
    sys.exit(main())
