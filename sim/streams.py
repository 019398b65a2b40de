"""Where randomness comes from: one stream per seed and names, so that no draw depends on what else is drawn.

Streams are Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) under a key hashed from the names.
"""

import hashlib

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the generator that belongs to a seed and names; equal ones start at the same place."""
    return np.random.Generator(np.random.Philox(key=number_of(128, seed, *names)))


def number_of(bits: int, *names: str | int) -> int:
    """Return a number below 2**bits (at most 512) that stands for names; others have another, but for bad luck."""
    said = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.blake2b(said.encode()).digest(), "big") >> (512 - bits)
