"""Who is let in, and what is said to those who are not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.router.authentication import authenticate
from infercast.router.errors import Kind, Trouble
from infercast.router.keys import Holder, Key, Keys, hash_of, issue, new_secret

TENANTS, TENANTS_SECRET = issue("clinic.paris", "clinic", "paris", ("personal",))
ADMINS, ADMINS_SECRET = issue("night-shift", "", holder=Holder.ADMIN)
NOW_S = 1_000.0


def refused(keys: Keys, given: str | None, holder: Holder = Holder.TENANT) -> Trouble:
    with pytest.raises(Trouble) as caught:
        authenticate(keys, given, holder, NOW_S)
    return caught.value


def ended(**how: int) -> tuple[Keys, Key, str]:
    key = replace(TENANTS, **how)  # type: ignore[arg-type]
    return Keys([key]), key, f"Bearer {TENANTS_SECRET}"


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  ", " Bearer "])
def test_a_good_key_is_found_by_what_it_shows(scheme: str) -> None:
    keys = Keys([TENANTS, ADMINS])
    assert authenticate(keys, f"{scheme}{TENANTS_SECRET}", Holder.TENANT, NOW_S) is TENANTS
    assert authenticate(keys, f"{scheme}{ADMINS_SECRET} ", Holder.ADMIN, NOW_S) is ADMINS


@given(st.none() | st.text() | st.text().map(lambda text: f"Bearer {text}"))
def test_strangers_all_hear_the_same(given: str | None) -> None:
    """Whatever keys there are: an unknown secret, an id, a hash, another scheme."""
    for keys in (Keys([]), Keys([TENANTS, ADMINS]), ended(revoked_at_s=1)[0]):
        for holder in Holder:
            trouble = refused(keys, given, holder)
            assert (trouble.kind, str(trouble)) == (
                Kind.UNAUTHENTICATED, "no valid key (send `Authorization: Bearer KEY`)"
            )  # fmt: skip


@pytest.mark.parametrize(
    "wrong", [TENANTS.id, TENANTS.sha256, hash_of(TENANTS.sha256), TENANTS_SECRET[:-1], new_secret()]
)
def test_nothing_but_the_secret_opens(wrong: str) -> None:
    assert refused(Keys([TENANTS]), f"Bearer {wrong}").message == "no valid key"
    assert refused(Keys([TENANTS]), f"Basic {TENANTS_SECRET}").message == "no valid key"
    assert refused(Keys([TENANTS]), f"Bearer {TENANTS_SECRET}, Bearer {TENANTS_SECRET}").message == "no valid key"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"expires_at_s": 1_000}, "the key 'clinic.paris' has expired"),
        ({"revoked_at_s": 5_000}, "the key 'clinic.paris' was revoked"),
        ({"revoked_at_s": 1, "expires_at_s": 1}, "the key 'clinic.paris' was revoked"),
    ],
)
def test_the_holder_of_an_ended_key_is_told_so(how: dict[str, int], said: str) -> None:
    keys, _, shown = ended(**how)
    for holder in Holder:  # also at the other door
        trouble = refused(keys, shown, holder)
        assert (trouble.kind, trouble.message) == (Kind.UNAUTHENTICATED, said)


def test_a_key_that_has_not_ended_yet_opens() -> None:
    keys, key, shown = ended(expires_at_s=1_001)
    assert authenticate(keys, shown, Holder.TENANT, NOW_S) is key


def test_neither_kind_of_key_opens_the_others_door() -> None:
    keys = Keys([TENANTS, ADMINS])
    for secret, holder, said in (
        (TENANTS_SECRET, Holder.ADMIN, "the key 'clinic.paris' opens a tenant's calls, not /admin"),
        (ADMINS_SECRET, Holder.TENANT, "the key 'night-shift' opens /admin alone"),
    ):
        trouble = refused(keys, f"Bearer {secret}", holder)
        assert (trouble.kind, trouble.message) == (Kind.FORBIDDEN, said)
