"""What a policy file may claim of itself, to be proved over all requests."""

from typing import Annotated

from pydantic import Field

from .fleet import Strict


class Claim(Strict):
    """One sentence about the policy that must hold for every request."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
