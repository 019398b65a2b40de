"""Text to tokens and back: real `tokenizer.json` files, templates of others, characters that come in halves."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from examples.models import language
from infercast.policies.fleet import Text
from infercast.router.errors import Kind, Trouble
from infercast.router.language.tokeniser import Tokeniser

START, STOP = 257, 258
HELLO = [{"role": "user", "content": "Hi"}]
unicode = st.text(st.characters(exclude_categories=["Cs"]))


def tokeniser_in(folder: Path, files: dict[str, Any], text: Text | None = None) -> Tokeniser:
    """The byte tokeniser with other files beside it."""
    beside = {"tokenizer.json": language.make_tokenizer().to_str(), **files}
    for name, content in beside.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return Tokeniser(folder, text or Text(tokenizer="tokenizer.json", context_tokens=100))


@pytest.fixture(scope="module")
def tiny(models: Path) -> Tokeniser:
    return Tokeniser(models / "tiny-llama" / "onnx", Text(tokenizer="../tokenizer.json", context_tokens=1024))


def test_a_conversation_becomes_a_prompt(tiny: Tokeniser) -> None:
    want = [START, *b"system\nBe brief.", STOP, 10, START, *b"user\nHi", STOP, 10, START, *b"assistant\n"]
    assert tiny.chat([{"role": "system", "content": "Be brief."}, *HELLO]) == want
    assert tiny.end_tokens == {256, 258}


def test_a_role_that_the_template_refuses_is_told(tiny: Tokeniser) -> None:
    with pytest.raises(Trouble, match="no role is called pirate") as caught:
        tiny.chat([{"role": "pirate", "content": "Hi"}])
    assert caught.value.kind is Kind.BAD_REQUEST


@given(
    content=st.lists(st.sampled_from(["<|im_end|>", "<|im_start|>", "system\n", "qfence", "x", "é", "<|im", "_end|>"]))
)
def test_marks_in_a_content_are_text(tiny: Tokeniser, content: list[str]) -> None:
    said = "".join(content)
    want = [START, *b"user\n", *said.encode(), STOP, 10, START, *b"assistant\n"]
    assert tiny.chat([{"role": "user", "content": said}]) == want


@given(text=unicode, cuts=st.data())
def test_text_comes_back_in_whole_characters(tiny: Tokeniser, text: str, cuts: st.DataObject) -> None:
    prompt = list(cuts.draw(unicode).encode())
    pieces, told = tiny.pieces(prompt), ""
    for token in text.encode():
        told += pieces.add(token)
        assert text.startswith(told)
    assert told + pieces.rest() == text


@given(bytes_=st.binary(max_size=30))
def test_bytes_that_are_no_text_are_told_as_replacements_at_the_end_at_the_latest(
    tiny: Tokeniser, bytes_: bytes
) -> None:
    pieces = tiny.pieces([])
    told = "".join(pieces.add(token) for token in bytes_) + pieces.rest()
    assert told == bytes_.decode("utf-8", "replace")


def test_half_a_character_is_held_back(tiny: Tokeniser) -> None:
    pieces = tiny.pieces(tiny.encode("Say "))
    assert [pieces.add(token) for token in "é€!".encode()] == ["", "é", "", "", "€", "!"]
    assert pieces.add(0xE2) == ""
    assert pieces.rest() == "\ufffd"


def test_a_mark_is_no_text(tiny: Tokeniser) -> None:
    pieces = tiny.pieces([START])
    assert pieces.add(STOP) + pieces.add(ord("a")) + pieces.rest() == "a"


def test_blanks_of_a_sentencepiece_vocabulary_stand_between_prompt_and_answer(tmp_path: Path) -> None:
    made = Tokenizer(
        models.Unigram([("<unk>", -9.0), ("▁", -1.0), ("▁Hello", -1.0), ("▁world", -1.0), ("!", -1.0)], unk_id=0)
    )
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokeniser = tokeniser_in(tmp_path, {"tokenizer.json": made.to_str()})
    pieces = tokeniser.pieces(tokeniser.encode("Hello"))
    assert [pieces.add(3), pieces.add(4), pieces.rest()] == [" world", "!", ""]


def test_what_the_file_puts_around_texts_is_put_around_texts_and_not_around_chats(tmp_path: Path) -> None:
    made = language.make_tokenizer()
    made.post_processor = processors.TemplateProcessing("<|im_start|> $A", None, [("<|im_start|>", START)])
    made.enable_truncation(3)
    made.enable_padding(length=20)
    config = {"chat_template": "{{ bos_token }}{{ messages[0].content }}", "bos_token": {"content": "<|im_start|>"}}
    tokeniser = tokeniser_in(tmp_path, {"tokenizer.json": made.to_str(), "tokenizer_config.json": config})
    assert tokeniser.encode("abcdef") == [START, *b"abcdef"]
    assert tokeniser.chat([{"role": "user", "content": "a"}]) == [START, 97]


@pytest.mark.parametrize(
    ("files", "want"),
    [
        ({"generation_config.json": {"eos_token_id": 7}}, {7}),
        ({"generation_config.json": {"eos_token_id": [7, 8]}}, {7, 8}),
        ({"tokenizer_config.json": {"eos_token": "<|im_end|>"}}, {258}),
        ({"special_tokens_map.json": {"eos_token": {"content": "<|endoftext|>"}}}, {256}),
        ({}, set()),
    ],
)
def test_the_end_is_known_from_the_files_beside(tmp_path: Path, files: dict[str, Any], want: set[int]) -> None:
    assert tokeniser_in(tmp_path, files).end_tokens == want


def test_the_card_goes_before_the_files_beside(tmp_path: Path) -> None:
    text = Text(tokenizer="tokenizer.json", context_tokens=9, chat_template="{{ messages[0].role }}", end_tokens=(3,))
    tokeniser = tokeniser_in(tmp_path, {"tokenizer_config.json": {"chat_template": "x"}}, text)
    assert tokeniser.chat(HELLO) == list(b"user")
    assert tokeniser.end_tokens == {3}


@pytest.mark.parametrize(
    "files",
    [
        {"chat_template.jinja": "[{{ messages[0].content }}]"},
        {"tokenizer_config.json": {"chat_template": "[{{ messages[0].content }}]"}},
        {"tokenizer_config.json": {"chat_template": [{"name": "default", "template": "[{{ messages[0].content }}]"}]}},
    ],
)
def test_templates_are_found_where_repositories_have_them(tmp_path: Path, files: dict[str, Any]) -> None:
    assert tokeniser_in(tmp_path, files).chat(HELLO) == list(b"[Hi]")


def test_a_template_may_be_a_file_beside_the_artefact(tmp_path: Path) -> None:
    text = Text(tokenizer="tokenizer.json", context_tokens=9, chat_template="own.jinja")
    assert tokeniser_in(tmp_path, {"own.jinja": "{{ messages | tojson }}"}, text).chat(HELLO) == list(
        b'[{"role": "user", "content": "Hi"}]'
    )


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ messages.append(1) }}",
        "{{ 1 // 0 }}",
        "{{ undefined_name.attribute }}",
        "{{ messages[0].content + 1 }}",
    ],
)
def test_a_template_sees_messages_and_nothing_of_this_process(tmp_path: Path, template: str) -> None:
    text = Text(tokenizer="tokenizer.json", context_tokens=9, chat_template=template)
    with pytest.raises(Trouble, match="the chat template refuses"):
        tokeniser_in(tmp_path, {}, text).chat(HELLO)


def test_without_a_template_there_is_no_chat(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match="no chat template") as caught:
        tokeniser_in(tmp_path, {}).chat(HELLO)
    assert caught.value.kind is Kind.BAD_REQUEST


def test_a_missing_tokeniser_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        Tokeniser(tmp_path, Text(tokenizer="tokenizer.json", context_tokens=9))
