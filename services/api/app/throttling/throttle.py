"""Wrong passwords make the next try wait. A try counts as wrong until it turns out right."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import NamedTuple, Protocol

LONGEST_WAIT_MS = 900_000
# Wrong passwords are forgotten if no other one follows for this long, or for four times the wait
# that they caused if that is longer.
MEMORY_MS = 900_000
# For how long an account's login makes its address known, and how many addresses are kept.
KNOWN_MS = 30 * 86_400_000
KNOWN_ADDRESSES = 20


class Backoff(NamedTuple):
    """After `free` wrong passwords the next try has to wait for a second. Each further `every`
    wrong passwords double that wait.
    """

    free: int
    every: int

    def wait(self, count: int) -> int:
        """Milliseconds that the next try has to wait after `count` wrong ones."""
        if count < self.free:
            return 0
        # 1000 << 10 already exceeds LONGEST_WAIT_MS.
        doublings = min((count - self.free) // self.every, 10)
        return min(1000 << doublings, LONGEST_WAIT_MS)

    def memory(self, count: int) -> int:
        """Milliseconds after which `count` wrong passwords are forgotten."""
        return max(MEMORY_MS, 4 * self.wait(count))


# Counts the tries for one account from one address.
PAIR = Backoff(5, 1)
# Counts the tries for one account from all addresses that it never logged in from.
ACCOUNT = Backoff(20, 5)


@dataclass(frozen=True, slots=True)
class Guess:
    """A password try. If `wait_ms` is 0, the password may be checked, and the try was counted as
    wrong for now; otherwise it was not counted."""

    # Keys that `digests` made.
    account: str
    pair_key: str
    # Whether the account has logged in from this address before.
    known: bool
    wait_ms: int
    # Wrong passwords, this one included.
    of_pair: int
    of_account: int

    @property
    def retry_after(self) -> int:
        """Whole seconds; a try after these gets through."""
        return -(-self.wait_ms // 1000)

    @property
    def begins_waiting(self) -> bool:
        """Whether this is the try that makes the next one wait for the first time."""
        return not self.wait_ms and (self.of_pair == PAIR.free or self.of_account == ACCOUNT.free)


class LoginThrottle(Protocol):
    """Counts wrong passwords, by digests of the account and of account and address together."""

    async def begin(self, account: str, pair_key: str) -> Guess:
        """Count a try as wrong before it is checked, or return how long it has to wait."""
        ...

    async def succeed(self, guess: Guess) -> None:
        """The password was right: forget wrong ones from this address, and remember the address."""
        ...

    async def withdraw(self, guess: Guess) -> None:
        """The password was not checked: take the count back."""
        ...

    async def close(self) -> None: ...


def digests(secret: str, account: str, address: str) -> tuple[str, str]:
    """The keys for an account's counts, without and with an address; they reveal neither."""
    return _digest(secret, account), _digest(secret, f"{account}\0{address}")


def _digest(secret: str, text: str) -> str:
    message = b"listo guesses " + text.encode("utf-8", "surrogatepass")
    return hmac.digest(secret.encode(), message, "sha256")[:16].hex()
