"""How long records are kept, and erasing them: bodies and salts go, the chain stays, a signed line says so."""

from typing import Final

DAY_S: Final = 86_400
KEEP_DAYS_DEFAULT: Final = 30
"""Days that a decision record is kept where its tenant's policy says nothing of it."""
