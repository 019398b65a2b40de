"""The Llama architecture in plain numpy, one text at a time, in double precision: written from the papers, for comparison."""

import numpy as np
import numpy.typing as npt

from examples.models.llama_graph import Shape, Weights

Doubles = npt.NDArray[np.float64]


def rms_norm(x: Doubles, gain: Doubles, epsilon: float) -> Doubles:
    """Each row over the root of its mean square."""
    return np.asarray(gain * x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + epsilon), np.float64)


def rotate(x: Doubles, base: float) -> Doubles:
    """Turn the pair (j, j + half) of the vector at position p by p * base ** (-j / half). x: [tokens, head size]."""
    half = x.shape[1] // 2
    turned = np.empty_like(x)
    for position in range(len(x)):
        for j in range(half):
            angle = position * base ** (-j / half)
            first, second = x[position, j], x[position, j + half]
            turned[position, j] = first * np.cos(angle) - second * np.sin(angle)
            turned[position, j + half] = second * np.cos(angle) + first * np.sin(angle)
    return turned


def attention(x: Doubles, weights: dict[str, Doubles], shape: Shape, *, causal: bool) -> Doubles:
    """Every head by itself; heads of one group look the same keys and values up."""
    size, mixed = shape.head_size, []
    for head in range(shape.heads):
        group = head * shape.key_heads // shape.heads
        mine, shared = slice(head * size, (head + 1) * size), slice(group * size, (group + 1) * size)
        queries = rotate(x @ weights["q"][:, mine], shape.rope_base)
        keys = rotate(x @ weights["k"][:, shared], shape.rope_base)
        values = x @ weights["v"][:, shared]
        rows = []
        for token in range(len(x)):
            sees = token + 1 if causal else len(x)
            scores = keys[:sees] @ queries[token] / np.sqrt(size)
            shares = np.exp(scores - scores.max())
            rows.append((shares / shares.sum()) @ values[:sees])
        mixed.append(np.array(rows))
    return np.concatenate(mixed, axis=1) @ weights["o"]


def hidden(tokens: list[int], shape: Shape, weights: Weights, *, causal: bool = True) -> Doubles:
    """The outcome of the last norm: [tokens, width]."""
    known = {name: value.astype(np.float64) for name, value in weights.items()}
    x = known["embed"][tokens]
    for layer in range(shape.layers):
        own = {name.split(".")[1]: value for name, value in known.items() if name.startswith(f"{layer}.")}
        x = x + attention(rms_norm(x, own["norm_in"], shape.epsilon), own, shape, causal=causal)
        y = rms_norm(x, own["norm_out"], shape.epsilon)
        gate = y @ own["gate"]
        x = x + (gate / (1 + np.exp(-gate)) * (y @ own["up"])) @ own["down"]
    return rms_norm(x, known["norm"], shape.epsilon)


def logits(tokens: list[int], shape: Shape, weights: Weights) -> Doubles:
    """What the decoder says of the token behind each: [tokens, vocabulary]."""
    head = weights["embed"].T if shape.tied else weights["head"]
    return hidden(tokens, shape, weights) @ head.astype(np.float64)


def vector(tokens: list[int], shape: Shape, weights: Weights) -> Doubles:
    """What the embedder makes of a text: the mean over its tokens, of length 1."""
    mean = hidden(tokens, shape, weights, causal=False).mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), np.float64)
