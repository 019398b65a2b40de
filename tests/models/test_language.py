"""The tiny language models compute what the papers say, and look like what real repositories hold."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.models import language, language_cards, llama_graph, model_cards
from examples.models.language import SHAPE, VARIANTS, make_artefact, make_tokenizer, make_weights
from examples.models.llama_graph import Shape
from infercast.policies.documents import read_document
from infercast.policies.fleet_file import load_fleet
from tests.models import plain_llama
from tests.support import write

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
SMALL = Shape(vocabulary=19, width=64, layers=2, heads=4, key_heads=2, inner=24, positions=64)
shapes = st.builds(
    Shape,
    vocabulary=st.just(19),
    width=st.just(24),
    layers=st.integers(1, 3),
    heads=st.just(6),
    key_heads=st.sampled_from([1, 2, 3, 6]),
    inner=st.sampled_from([8, 40]),
    positions=st.just(64),
    tied=st.booleans(),
    fused=st.just(False),
    rope_base=st.sampled_from([100.0, 10_000.0, 500_000.0]),
)
texts = st.lists(st.integers(0, 18), min_size=1, max_size=24)


def session_of(model: bytes) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def step(session: Any, tokens: list[int], past: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
    """Logits [tokens, vocabulary] of new tokens behind a past, and what is past then."""
    caches = [one for one in session.get_inputs() if one.name.startswith("past_key_values.")]
    if past is None:
        past = {one.name: np.zeros((1, one.shape[1], 0, one.shape[3]), np.float32) for one in caches}
    seen = next(iter(past.values())).shape[2]
    feeds = {
        "input_ids": np.array([tokens]),
        "attention_mask": np.ones((1, seen + len(tokens)), np.int64),
        "position_ids": np.arange(seen, seen + len(tokens))[None],
        **past,
    }
    named = {one.name: feeds[one.name] for one in session.get_inputs()}
    names = [one.name for one in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, named), strict=True))
    return outputs["logits"][0], {name: outputs[name.replace("past_key_values", "present")] for name in past}


@settings(max_examples=25)
@given(shape=shapes, tokens=texts, seed=st.integers(0, 1000))
def test_the_graph_computes_what_the_papers_say(shape: Any, tokens: list[int], seed: int) -> None:
    weights = make_weights(shape, seed)
    got, _ = step(session_of(llama_graph.decoder("t", shape, weights)), tokens, None)
    np.testing.assert_allclose(got, plain_llama.logits(tokens, shape, weights), atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("fused", [False, True])
@settings(max_examples=25)
@given(tokens=texts, cuts=st.lists(st.integers(1, 23), max_size=4, unique=True))
def test_with_a_cache_a_text_may_come_in_any_parts(fused: bool, tokens: list[int], cuts: list[int]) -> None:
    shape = replace(SMALL, fused=fused)
    session = session_of(llama_graph.decoder("t", shape, make_weights(shape)))
    past, parts, at = None, [], 0
    for end in [*sorted(cut for cut in cuts if cut < len(tokens)), len(tokens)]:
        logits, past = step(session, tokens[at:end], past)
        parts.append(logits)
        at = end
    np.testing.assert_allclose(
        np.concatenate(parts), plain_llama.logits(tokens, shape, make_weights(shape)), atol=2e-4, rtol=1e-3
    )


@settings(max_examples=25)
@given(rows=st.lists(texts, min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_the_embedder_gives_the_mean_of_what_the_papers_say_whatever_the_pads(rows: list[list[int]], seed: int) -> None:
    shape = replace(SMALL, layers=1)
    weights = make_weights(shape, seed)
    mask = np.array([[at < len(row) for at in range(24)] for row in rows])
    ids = np.array([[*row, *[7] * (24 - len(row))] for row in rows])
    (got,) = session_of(llama_graph.embedder("t", shape, weights)).run(
        ["sentence_embedding"], {"input_ids": ids, "attention_mask": mask.astype(np.int64)}
    )
    np.testing.assert_allclose(got, [plain_llama.vector(row, shape, weights) for row in rows], atol=2e-5)


def test_names_and_shapes_are_those_of_common_exports() -> None:
    session = session_of(make_artefact(VARIANTS["tiny-llama"]))
    assert [(one.name, one.type, one.shape) for one in session.get_inputs()][:4] == [
        ("input_ids", "tensor(int64)", ["batch_size", "sequence_length"]),
        ("attention_mask", "tensor(int64)", ["batch_size", "total_sequence_length"]),
        ("position_ids", "tensor(int64)", ["batch_size", "sequence_length"]),
        ("past_key_values.0.key", "tensor(float)", ["batch_size", 2, "past_sequence_length", 16]),
    ]
    assert [one.name for one in session.get_outputs()] == [
        "logits",
        *(f"present.{layer}.{kind}" for layer in (0, 1) for kind in ("key", "value")),
    ]


def test_the_same_seed_builds_the_same_bytes_and_another_other_ones() -> None:
    variant = VARIANTS["tiny-embed"]
    assert make_artefact(variant) == make_artefact(variant)
    assert not np.array_equal(make_weights(SMALL, 1)["embed"], make_weights(SMALL, 2)["embed"])


def test_printable_letters_are_likelier_than_all_else() -> None:
    weights = make_weights(SHAPE)
    said = plain_llama.logits(list(b"Once upon a time"), SHAPE, weights)
    shares = np.exp(said - said.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    letters = [ord(letter) for letter in language.LETTERS]
    assert float(shares[:, letters].sum(axis=1).min()) > 0.95


@given(st.text())
def test_the_first_tokens_are_the_bytes(text: str) -> None:
    tokenizer = make_tokenizer()
    clean = text.encode("utf-8", "replace").decode()
    assert tokenizer.encode(clean).ids == list(clean.encode())
    assert tokenizer.decode(list(clean.encode())) == clean


def test_marks_are_one_token_each() -> None:
    assert make_tokenizer().encode("a<|im_end|>b").ids == [97, 258, 98]


def test_a_build_is_laid_out_as_repositories_are_and_kept_while_current(tmp_path: Path) -> None:
    artefact = language.build("tiny-llama", tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        "tiny-llama/config.json",
        "tiny-llama/tokenizer.json",
        "tiny-llama/tokenizer_config.json",
        "tiny-llama/generation_config.json",
        "tiny-llama/onnx/model.onnx",
        "tiny-llama/onnx/model.onnx.sha256",
    }
    digest, built_ns = model_cards.sha256_of(artefact), artefact.stat().st_mtime_ns
    assert language.build("tiny-llama", tmp_path).stat().st_mtime_ns == built_ns
    artefact.write_bytes(b"damaged")
    assert model_cards.sha256_of(language.build("tiny-llama", tmp_path)) == digest


@pytest.mark.parametrize("name", VARIANTS)
def test_cards_say_what_was_measured_for_the_usual_call(name: str, tmp_path: Path) -> None:
    card = json.loads((MODELS / f"{name}.card.json").read_text())
    assert (card["variant"], card["artefact"], card["accuracy"]) == (name, "onnx/model.onnx", None)
    assert card["artefact_bytes"] == language.build(name, tmp_path).stat().st_size
    assert card["text"] == {"tokenizer": "../tokenizer.json", "context_tokens": 1024}
    usual = VARIANTS[name].usual
    assert card["usual_tokens"] == {"prompt": usual.prompt_tokens, "completion": usual.completion_tokens}
    assert 0 < card["service_time_ms"]["cpu"]["p50"] <= card["service_time_ms"]["cpu"]["p95"]
    assert ("token_time_ms" in card) is (usual.completion_tokens > 0)


def test_check_tells_of_an_artefact_that_the_card_does_not_describe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert language.main(["--check", "--out", str(tmp_path)]) == 1
    assert "tiny-llama" in capsys.readouterr().err
    for name in VARIANTS:
        language.build(name, tmp_path).write_bytes(b"other")
    assert language.main(["--check", "--out", str(tmp_path)]) == 1
    assert "the card says" in capsys.readouterr().err


def test_a_model_of_others_is_measured_by_the_same_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    language.build("tiny-llama", tmp_path)
    folder = (tmp_path / "tiny-llama").rename(tmp_path / "other")
    assert language_cards.main([str(folder), "--rounds", "1", "--prompt", "9", "--completion", "3"]) == 0
    assert "other: p50" in capsys.readouterr().out
    card = json.loads((folder / "card.json").read_text())
    assert card["text"] == {"tokenizer": "../tokenizer.json", "context_tokens": 1024}
    assert card["usual_tokens"] == {"prompt": 9, "completion": 3}
    (folder / "config.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    assert language_cards.main([str(folder)]) == 1
    assert "give --context-tokens" in capsys.readouterr().err
    (folder / "tokenizer.json").unlink()
    assert language_cards.main([str(folder)]) == 1
    assert "not there: tokenizer.json" in capsys.readouterr().err


def test_the_worked_example_of_the_docs_is_accepted(tmp_path: Path) -> None:
    language.build("tiny-llama", tmp_path / ".infercast" / "models")
    folder = (tmp_path / ".infercast" / "models" / "tiny-llama").rename(tmp_path / ".infercast/models/smollm2-135m")
    assert language_cards.main([str(folder), "--rounds", "1"]) == 0
    page = (MODELS.parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    whole = read_document(MODELS.parents[1] / "cluster.yaml").value
    write(tmp_path / "cluster.yaml", {**whole, **yaml.safe_load(block)})
    fleet = load_fleet(tmp_path / "cluster.yaml")
    assert fleet.artefacts["smollm2-135m"] == str(folder / "onnx" / "model.onnx")
    assert fleet.cards["smollm2-135m"].text is not None
