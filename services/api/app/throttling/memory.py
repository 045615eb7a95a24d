"""Wrong passwords as a single process counts them, in bounded dictionaries."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from app.throttling.throttle import ACCOUNT, KNOWN_ADDRESSES, KNOWN_MS, PAIR, Guess

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.throttling.throttle import Backoff

MAX_KEYS = 100_000


def _monotonic() -> int:
    return time.monotonic_ns() // 1_000_000


class MemoryLoginThrottle:
    """`now` gives milliseconds."""

    def __init__(self, now: Callable[[], int] = _monotonic, max_keys: int = MAX_KEYS) -> None:
        self._now = now
        self._max_keys = max_keys
        # By digest: the number of wrong passwords, when the next try may come, when both expire.
        self._wrong: dict[str, tuple[int, int, int]] = {}
        # By account: addresses and until when they are known. The address used last comes last.
        self._known: dict[str, dict[str, int]] = {}

    async def begin(self, account: str, pair_key: str) -> Guess:
        now = self._now()
        known = self._known.get(account, {}).get(pair_key, 0) > now
        address_failures, wait = self._read(pair_key, now)
        of_account, account_wait = (0, 0) if known else self._read(account, now)
        wait = max(wait, account_wait)
        if not wait:
            address_failures += 1
            self._write(PAIR, pair_key, address_failures, now + PAIR.wait(address_failures), now)
            if not known:
                of_account += 1
                self._write(ACCOUNT, account, of_account, now + ACCOUNT.wait(of_account), now)
        return Guess(account, pair_key, known, wait, address_failures, of_account)

    async def succeed(self, guess: Guess) -> None:
        now = self._now()
        if not guess.known:
            self._take_back(ACCOUNT, guess.account, now)
        self._wrong.pop(guess.pair_key, None)
        addresses = self._known.pop(guess.account, {})
        addresses.pop(guess.pair_key, None)
        addresses[guess.pair_key] = now + KNOWN_MS
        if len(addresses) > KNOWN_ADDRESSES:
            del addresses[next(iter(addresses))]
        self._known[guess.account] = addresses
        if len(self._known) > self._max_keys:
            del self._known[next(iter(self._known))]

    async def withdraw(self, guess: Guess) -> None:
        now = self._now()
        self._take_back(PAIR, guess.pair_key, now)
        if not guess.known:
            self._take_back(ACCOUNT, guess.account, now)

    async def close(self) -> None:
        self._wrong.clear()
        self._known.clear()

    def _read(self, key: str, now: int) -> tuple[int, int]:
        count, until, forgotten = self._wrong.get(key, (0, 0, 0))
        return (count, max(0, until - now)) if forgotten > now else (0, 0)

    def _take_back(self, backoff: Backoff, key: str, now: int) -> None:
        count, _ = self._read(key, now)
        # The try was let in, so there was no wait before it.
        self._write(backoff, key, count - 1, 0, now)

    def _write(self, backoff: Backoff, key: str, count: int, until: int, now: int) -> None:
        if count < 1:
            self._wrong.pop(key, None)
            return
        self._wrong[key] = (count, until, now + backoff.memory(count))
        if len(self._wrong) > self._max_keys:
            self._evict(now)

    def _evict(self, now: int) -> None:
        """Forget expired counts, then the smallest counts."""
        least = 0
        while len(self._wrong) > self._max_keys * 3 // 4:
            self._wrong = {
                key: (count, until, forgotten)
                for key, (count, until, forgotten) in self._wrong.items()
                if forgotten > now and count > least
            }
            least += 1
