"""Many streams on one model: each as if it were alone, none starved, places free again however a stream ends."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.policies.fleet import Text
from infercast.router.errors import Kind, Trouble
from infercast.router.language.decoder import Pads, RunError
from infercast.router.language.model import Embedder, Piece, Sampling, Stream, TextModel

CONTEXT = 1024
GREEDY = Sampling(temperature=0.0, max_tokens=12)
FACTS = Text(tokenizer="../tokenizer.json", context_tokens=CONTEXT)
Make = Callable[..., TextModel]


@pytest.fixture(scope="module")
def make(models: Path) -> Iterator[Make]:
    """Makes models of the tiny decoder, and ends them."""
    made: list[TextModel] = []

    def one(text: Text = FACTS, **more: Any) -> TextModel:
        made.append(TextModel("tiny-llama", str(models / "tiny-llama" / "onnx" / "model.onnx"), text, **more))
        return made[-1]

    yield one
    for model in made:
        model.close()


@pytest.fixture(scope="module")
def model(make: Make) -> TextModel:
    return make(running_max=64, streams_max=256)


async def read(stream: Stream) -> list[Piece]:
    async with aclosing(stream):
        return [piece async for piece in stream]


def whole(pieces: list[Piece]) -> tuple[str, int, str | None]:
    assert [piece.finish for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert all(piece.text for piece in pieces[:-1])
    return "".join(piece.text for piece in pieces), sum(piece.tokens for piece in pieces), pieces[-1].finish


def said(model: TextModel, prompt: list[int], sampling: Sampling = GREEDY) -> tuple[str, int, str | None]:
    """What a model says with nothing beside it."""

    async def alone() -> list[Piece]:
        return await read(model.generate(prompt, sampling))

    return whole(asyncio.run(alone()))


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that is sure to come."""
    while not true():  # noqa: ASYNC110 - the thread that changes it tells nobody
        await asyncio.sleep(0.001)


def test_a_text_has_as_many_tokens_as_were_asked_for(model: TextModel) -> None:
    text, tokens, finish = said(model, model.encode("Once upon"))
    assert (len(text.encode()), tokens, finish) == (12, 12, "length")


def test_without_a_bound_a_text_fills_the_context(make: Make) -> None:
    model = make(Text(tokenizer="../tokenizer.json", context_tokens=40))
    assert said(model, [97] * 30, Sampling(temperature=0.0))[1:] == (10, "length")


@pytest.mark.parametrize("pads", list(Pads))
@settings(max_examples=15)
@given(
    world=st.lists(
        st.tuples(
            st.lists(st.integers(97, 122), min_size=1, max_size=600),
            st.integers(1, 25),
            st.integers(0, 3),
            st.sampled_from([0.0, 1.0]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_each_of_many_says_what_it_says_alone(
    model: TextModel, forms: dict[str, Path], pads: Pads, world: list[tuple[list[int], int, int, float]]
) -> None:
    other = _padded(model, pads, forms)

    async def together() -> list[list[Piece]]:
        async def late(prompt: list[int], tokens: int, turns: int, heat: float) -> list[Piece]:
            for _ in range(turns):
                await asyncio.sleep(0)
            return await read(other.generate(prompt, Sampling(max_tokens=tokens, temperature=heat, seed=5)))

        return await asyncio.gather(*(late(*one) for one in world))

    got = [whole(pieces) for pieces in asyncio.run(together())]
    assert got == [said(model, prompt, Sampling(max_tokens=n, temperature=h, seed=5)) for prompt, n, _, h in world]


def _padded(model: TextModel, pads: Pads, forms: dict[str, Path]) -> TextModel:
    """The model in a form that bears pads at this side, running at most four streams at once."""
    found = _PADDED.get(pads)
    if found is None:
        path = forms["fused" if pads is Pads.RIGHT else "spelt out"]
        folder = forms["spelt out"].parent
        text = Text(tokenizer=str(folder.parent / "tokenizer.json"), context_tokens=CONTEXT, end_tokens=(256, 258))
        found = _PADDED[pads] = TextModel("tiny", str(path), text, running_max=4)
        found._decoder.pads = pads
    return found


_PADDED: dict[Pads, TextModel] = {}


def test_two_hundred_streams_at_once_all_come_to_their_end(make: Make) -> None:
    model = make(running_max=200, streams_max=200)

    async def all_() -> list[list[Piece]]:
        prompts = [model.encode(f"Number {at} says") for at in range(200)]
        streams = [model.generate(prompt, Sampling(max_tokens=20, seed=at)) for at, prompt in enumerate(prompts)]
        return await asyncio.gather(*map(read, streams))

    for _, tokens, finish in map(whole, asyncio.run(all_())):
        assert (tokens == 20) if finish == "length" else (tokens <= 20)
    assert model.streams == 0


def test_each_running_stream_gets_a_token_at_every_step(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(running_max=40)
    steps: list[int] = []
    threads: set[str] = set()
    run = model._decoder.run

    def counted(cache: Any, tokens: Any) -> Any:
        threads.add(threading.current_thread().name)
        if cache.columns:
            steps.append(len(tokens))
        return run(cache, tokens)

    monkeypatch.setattr(model._decoder, "run", counted)

    async def all_() -> None:
        prompts = [model.encode(f"{at} ") * 3 for at in range(40)]
        await asyncio.gather(*(read(model.generate(prompt, Sampling(100, temperature=0.0))) for prompt in prompts))

    asyncio.run(all_())
    # The prompts take a few steps, some more on a slow machine; then all forty step together until the first of them ends.
    assert steps.count(40) >= 1
    assert max(steps) == 40
    assert threads == {"language"}


def test_a_long_prompt_keeps_nobody_waiting(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infercast.router.language.scheduler.PART_TOKENS_MAX", 128)
    model = make()

    async def both() -> tuple[int, int]:
        running = model.generate([97] * 10, Sampling(max_tokens=900, temperature=0.0))
        first = await anext(running)
        before = first.tokens
        long = asyncio.create_task(read(model.generate([98] * 1000, Sampling(max_tokens=1))))
        between = 0
        while not long.done():
            between += (await anext(running)).tokens
        await running.aclose()
        return before, between

    _, between = asyncio.run(both())
    assert between >= 6  # a prompt of 1000 tokens comes in seven parts or more, each with a step of the others


def test_the_same_seed_says_the_same_and_others_differ(model: TextModel) -> None:
    prompt = model.encode("Tell me")
    texts = [said(model, prompt, Sampling(max_tokens=30, seed=seed))[0] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert said(model, prompt, Sampling(max_tokens=30))[0] != said(model, prompt, Sampling(max_tokens=30))[0]


def test_a_stop_string_ends_a_text_before_it(model: TextModel) -> None:
    prompt = model.encode("Tell me")
    text, _, _ = said(model, prompt, Sampling(max_tokens=60, seed=3))
    stop = text[20:24]
    cut, tokens, finish = said(model, prompt, Sampling(max_tokens=60, seed=3, stop=("\x00", stop)))
    assert (cut, finish) == (text[: text.index(stop)], "stop")
    assert tokens == text.index(stop) + 4


def test_a_mark_of_the_end_ends_a_text_and_is_not_told(make: Make) -> None:
    plain = make()
    prompt = plain.encode("Tell me")
    text, _, _ = said(plain, prompt, Sampling(max_tokens=60, seed=3))
    ends = make(Text(tokenizer="../tokenizer.json", context_tokens=CONTEXT, end_tokens=(ord(text[9]),)))
    at = text.index(text[9])
    assert said(ends, prompt, Sampling(max_tokens=60, seed=3)) == (text[:at], at + 1, "stop")


@pytest.mark.parametrize(
    ("prompt", "tokens", "said_"),
    [
        ([], 1, "the text is empty"),
        ([97] * CONTEXT, None, "the text has 1024 tokens (send at most 1023)"),
        ([97] * 1000, 25, "prompt and max_tokens are 1000 + 25 tokens, the context 1024 (ask for at most 24 tokens"),
        ([97, 259], 1, "there is no token 259 (tokens are 0 to 258)"),
        ([-1], 1, "there is no token -1"),
    ],
)
def test_what_does_not_fit_is_told_at_once(model: TextModel, prompt: list[int], tokens: int | None, said_: str) -> None:
    async def ask() -> None:
        model.generate(prompt, Sampling(max_tokens=tokens))

    with pytest.raises(Trouble) as caught:
        asyncio.run(ask())
    assert caught.value.kind is Kind.BAD_REQUEST
    assert said_ in str(caught.value)
    assert model.streams == 0


LONG = Sampling(max_tokens=1000, temperature=0.0)


def test_beyond_its_bound_a_model_is_saturated_and_each_end_makes_room(make: Make) -> None:
    model = make(running_max=1, streams_max=3)

    async def story() -> None:
        running, waiting, dropped = (model.generate([97], LONG) for _ in range(3))
        await anext(running)
        with pytest.raises(Trouble) as caught:
            model.generate([97], LONG)
        assert caught.value.kind is Kind.SATURATED

        await waiting.aclose()  # closed while it waits
        await until(lambda: model.streams == 2)
        with pytest.raises(StopAsyncIteration):
            await anext(waiting)

        del dropped  # forgotten without a word
        gc.collect()
        await until(lambda: model.streams == 1)

        reader = asyncio.create_task(read(model.generate([97], LONG)))
        await running.aclose()  # closed while it runs: the next one takes its place
        await until(lambda: model.streams == 1)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await until(lambda: model.streams == 0)
        assert whole(await read(model.generate([97], GREEDY)))[1:] == (12, "length")

    asyncio.run(story())


def test_places_are_given_in_the_order_of_coming(make: Make) -> None:
    model = make(running_max=2)
    ended: list[int] = []

    async def one(at: int) -> None:
        await read(model.generate([97 + at], GREEDY))
        ended.append(at)

    async def all_() -> None:
        await asyncio.gather(*(one(at) for at in range(8)))

    asyncio.run(all_())
    assert [sorted(ended[at : at + 2]) for at in range(0, 8, 2)] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_pieces_that_nobody_reads_yet_are_joined(make: Make) -> None:
    model = make()

    async def story() -> list[Piece]:
        stream = model.generate(model.encode("Tell me"), GREEDY)
        await until(lambda: model.streams == 0)
        await asyncio.sleep(0)
        return await read(stream)

    pieces = asyncio.run(story())
    assert [(piece.tokens, piece.finish) for piece in pieces] == [(12, "length")]
    assert pieces[0].text == said(model, model.encode("Tell me"))[0]


def test_a_run_that_fails_takes_its_own_streams_with_it_and_no_others(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make()
    run = model._decoder.run

    def broken(cache: Any, tokens: Any) -> Any:
        if any(66 in row for row in tokens):
            raise RunError("out of memory")
        return run(cache, tokens)

    monkeypatch.setattr(model._decoder, "run", broken)

    async def story() -> None:
        good = asyncio.create_task(read(model.generate([97], LONG)))
        await asyncio.sleep(0.05)
        with pytest.raises(Trouble) as caught:
            await read(model.generate([66], GREEDY))
        assert caught.value.kind is Kind.UNAVAILABLE
        assert whole(await good)[1] >= 1

    asyncio.run(story())
    assert model.streams == 0


@pytest.mark.parametrize("step", ["run", "gather"])
def test_a_step_that_breaks_ends_its_streams_and_the_next_ones_come_through(
    make: Make, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    model = make(running_max=2)

    def broken(*_: Any) -> Any:
        raise MemoryError("Unable to allocate 9 GiB")

    async def one() -> None:
        await read(model.generate([97], GREEDY))

    async def three() -> list[Any]:
        return list(await asyncio.gather(one(), one(), one(), return_exceptions=True))

    with monkeypatch.context() as patch:
        patch.setattr(model._decoder, step, broken)
        assert {getattr(got, "kind", got) for got in asyncio.run(three())} == {Kind.UNAVAILABLE}
    assert model.streams == 0
    assert asyncio.run(three()) == [None, None, None]
    assert model.lives


def test_a_model_whose_steps_fail_and_fail_is_not_well_for_a_while(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(model._decoder, "run", lambda *_: 1 // 0)
        for _ in range(4):
            seen.append(model.lives)
            with pytest.raises(Trouble):
                said(model, [97])
    assert seen == [True, True, True, False]
    monkeypatch.setattr("infercast.router.language.scheduler.REST_S", 0.0)
    assert model.lives, "it is tried again"
    assert said(model, [97])[1:] == (12, "length")
    monkeypatch.undo()
    assert model.lives
    model.close()
    assert not model.lives


def test_of_several_prompts_all_start_or_none(make: Make) -> None:
    model = make(running_max=1, streams_max=3)

    async def story() -> None:
        first = model.generate([97], LONG)
        for prompts, kind in (([[97]] * 3, Kind.SATURATED), ([[97], [-1]], Kind.BAD_REQUEST)):
            with pytest.raises(Trouble) as caught:
                model.generate_all(prompts, GREEDY)
            assert (caught.value.kind, model.streams) == (kind, 1)
        others = model.generate_all([[97], [98]], GREEDY)
        await first.aclose()
        assert [whole(await read(stream))[1:] for stream in others] == [(12, "length")] * 2

    asyncio.run(story())


def test_a_model_that_is_taken_down_says_so_to_those_that_read(make: Make) -> None:
    model = make()

    async def story() -> None:
        stream = model.generate([97], LONG)
        await anext(stream)
        await asyncio.to_thread(model.close)
        with pytest.raises(Trouble) as caught:
            await read(stream)
        assert caught.value.kind is Kind.UNAVAILABLE

    asyncio.run(story())


def test_a_loop_that_is_gone_harms_nobody(make: Make) -> None:
    model = make()

    async def begin() -> Stream:
        stream = model.generate([97], LONG)
        await anext(stream)
        return stream

    left = asyncio.run(begin())
    assert said(model, [97])[1] == 12
    del left


@pytest.fixture(scope="module")
def embedder(models: Path) -> Embedder:
    return Embedder("tiny-embed", str(models / "tiny-embed" / "onnx" / "model.onnx"), FACTS)


@settings(max_examples=25)
@given(texts=st.lists(st.text("abc é", min_size=1, max_size=50), min_size=1, max_size=8))
def test_each_text_has_the_vector_that_it_has_alone(embedder: Embedder, texts: list[str]) -> None:
    vectors, tokens = asyncio.run(embedder.embed(texts))
    assert vectors.shape == (len(texts), embedder.dimensions)
    assert vectors.dtype == np.float32
    assert tokens == sum(len(text.encode()) for text in texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    alone = [asyncio.run(embedder.embed([list(text.encode())]))[0][0] for text in texts]
    np.testing.assert_allclose(vectors, alone, atol=1e-5)


def test_more_texts_than_fit_into_one_run_come_in_order(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["long " * 40, "b", "longer " * 40, "a", "c" * 100]
    want, _ = asyncio.run(embedder.embed(texts))
    monkeypatch.setattr("infercast.router.language.embedder.RUN_TOKENS", 150)
    got, _ = asyncio.run(embedder.embed(texts))
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "said_"),
    [
        ([], "there is no input"),
        (["a", ""], "the text is empty"),
        (["a" * 1025], "the text has 1025 tokens (send at most 1024)"),
        ([[1, 900]], "there is no token 900"),
    ],
)
def test_what_cannot_be_embedded_is_told(embedder: Embedder, inputs: Any, said_: str) -> None:
    with pytest.raises(Trouble) as caught:
        asyncio.run(embedder.embed(inputs))
    assert caught.value.kind is Kind.BAD_REQUEST
    assert said_ in str(caught.value)


def test_a_decoder_is_no_embedder(models: Path) -> None:
    with pytest.raises(ValueError, match="no embedder"):
        Embedder("x", str(models / "tiny-llama" / "onnx" / "model.onnx"), FACTS)
