"""One decoder session: rows together say what each says alone, with whatever cache, in every form that exports have."""

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.router.language.decoder import Cache, Decoder, Pads

FORMS = {"spelt out": Pads.LEFT, "fused": Pads.RIGHT}
texts = st.lists(st.integers(0, 258), min_size=1, max_size=40)
worlds = st.lists(texts, min_size=1, max_size=5)


@cache
def decoder_of(path: Path) -> Decoder:
    return Decoder("tiny", str(path))


def said_alone(decoder: Decoder, text: list[int]) -> npt.NDArray[np.float32]:
    """The logits behind a text that is read at once, with nothing beside it."""
    return np.asarray(decoder.run(decoder.empty(1), [text])[0][0])


@pytest.mark.parametrize("form", FORMS)
def test_sizes_are_read_from_the_file_and_where_pads_may_stand_is_found_out(form: str, forms: dict[str, Path]) -> None:
    decoder = decoder_of(forms[form])
    assert (decoder.layers, decoder.key_heads, decoder.head_size, decoder.vocabulary) == (2, 2, 16, 259)
    assert decoder.pads is FORMS[form]


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=30)
@given(prompts=worlds, data=st.data())
def test_rows_together_say_what_each_says_alone(
    form: str, forms: dict[str, Path], prompts: list[list[int]], data: st.DataObject
) -> None:
    decoder = decoder_of(forms[form])
    logits, cache_ = decoder.run(decoder.empty(len(prompts)), prompts)
    rows = [list(prompt) for prompt in prompts]
    for _ in range(3):
        np.testing.assert_allclose(logits, [said_alone(decoder, row) for row in rows], atol=2e-4)
        kept = data.draw(st.lists(st.sampled_from(range(len(rows))), min_size=1, unique=True))
        fresh = data.draw(texts)
        _, other = decoder.run(decoder.empty(1), [fresh])
        cache_ = decoder.gather([(cache_, kept), (other, [0])])
        rows = [*(rows[row] for row in kept), list(fresh)]
        assert list(cache_.lengths) == [len(row) for row in rows]
        assert cache_.columns == max(len(row) for row in rows)
        step = data.draw(st.lists(st.integers(0, 258), min_size=len(rows), max_size=len(rows)))
        logits, cache_ = decoder.run(cache_, [[token] for token in step])
        rows = [[*row, token] for row, token in zip(rows, step, strict=True)]


@pytest.mark.parametrize("form", FORMS)
def test_a_long_prompt_may_come_in_parts(form: str, forms: dict[str, Path]) -> None:
    decoder = decoder_of(forms[form])
    text = [(7 * at) % 256 for at in range(200)]
    state: Cache = decoder.empty(1)
    for start in range(0, 200, 64):
        logits, state = decoder.run(state, [text[start : start + 64]])
    np.testing.assert_allclose(logits[0], said_alone(decoder, text), atol=2e-4)


def test_rows_behind_a_cache_take_as_many_tokens_each(forms: dict[str, Path]) -> None:
    decoder = decoder_of(forms["spelt out"])
    _, state = decoder.run(decoder.empty(2), [[1], [2]])
    with pytest.raises(ValueError, match="as many tokens"):
        decoder.run(state, [[1, 2], [3]])


def test_a_model_that_bears_no_pads_is_found_out(forms: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(str(forms["spelt out"]))
    for node in model.graph.node:  # this export forgot its mask: every column is seen
        node.input[:] = [
            "no_mask" if name == "attention_mask" and node.op_type == "Cast" else name for name in node.input
        ]
    ones = onnx.helper.make_node("Div", ["attention_mask_safe", "attention_mask_safe"], ["no_mask"])
    one = onnx.numpy_helper.from_array(np.array(1, np.int64), "one_more")
    model.graph.node.insert(0, ones)
    model.graph.node.insert(0, onnx.helper.make_node("Add", ["attention_mask", "one_more"], ["attention_mask_safe"]))
    model.graph.initializer.append(one)
    path = tmp_path / "no_mask.onnx"
    onnx.save(model, str(path))
    assert Decoder("no-mask", str(path)).pads is Pads.NONE


def test_a_file_that_is_no_decoder_is_told_apart(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no decoder with a cache"):
        Decoder("embed", str(models / "tiny-embed" / "onnx" / "model.onnx"))
    with pytest.raises(FileNotFoundError, match="make the models first"):
        Decoder("gone", str(tmp_path / "gone.onnx"))


def test_half_precision_caches_are_taken(forms: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(str(forms["spelt out"]))
    for end, names in ((model.graph.input, "past_key_values."), (model.graph.output, "present.")):
        for value in end:
            if value.name.startswith(names):
                value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Concat" and node.input[0].startswith("past_key_values."):
            wide = f"{node.input[0]}.wide"
            nodes.append(onnx.helper.make_node("Cast", [node.input[0]], [wide], to=onnx.TensorProto.FLOAT))
            narrow, node.output[0] = node.output[0], f"{node.output[0]}.wide"
            node.input[0] = wide
            nodes += [node, onnx.helper.make_node("Cast", [node.output[0]], [narrow], to=onnx.TensorProto.FLOAT16)]
            continue
        node.input[:] = [f"{name}.wide" if name.startswith("present.") else name for name in node.input]
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path = tmp_path / "half.onnx"
    onnx.save(model, str(path))
    half, whole = Decoder("half", str(path)), decoder_of(forms["spelt out"])
    assert (half.dtype.name, half.pads) == ("float16", Pads.LEFT)
    prompts = [[1, 2, 3], [4] * 20]
    _, state = half.run(half.empty(2), prompts)
    got, _ = half.run(half.gather([(state, [1]), (state, [0])]), [[5], [6]])
    np.testing.assert_allclose(
        got, [said_alone(whole, [*prompts[1], 5]), said_alone(whole, [*prompts[0], 6])], atol=0.05
    )
