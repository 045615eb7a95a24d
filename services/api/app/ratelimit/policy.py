"""Rate-limit policies of one or several windows, and the fields that report them.

Fields as in draft-ietf-httpapi-ratelimit-headers: `RateLimit-Policy` and `RateLimit`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from app.core.rates import Rate


# The maximum that a caller may owe beyond a burst, in microseconds.
OVERDRAFT = 60_000_000


@dataclass(frozen=True)
class Policy:
    """A named set of rates that all hold together, each a burst of `limit`, then a steady flow."""

    name: str
    rates: tuple[Rate, ...]
    # How many processes admit by the policy, each for itself.
    processes: int = 1
    quoted: bytes = field(init=False)
    description: bytes = field(init=False)
    # Microseconds between two requests at each rate, and the burst in microseconds (GCRA).
    windows: tuple[tuple[int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        text = ", ".join(f'"{self.name}";q={rate.limit};w={rate.window}' for rate in self.rates)
        object.__setattr__(self, "quoted", f'"{self.name}"'.encode())
        object.__setattr__(self, "description", text.encode())
        # Rounded up, so that a window never lets more through than its limit.
        emissions = [
            -(-rate.window * 1_000_000 * self.processes // rate.limit) for rate in self.rates
        ]
        bursts = [
            emission * max(1, rate.limit // self.processes)
            for emission, rate in zip(emissions, self.rates, strict=True)
        ]
        object.__setattr__(self, "windows", tuple(zip(emissions, bursts, strict=True)))


@lru_cache(maxsize=1000)
def share(policy: Policy, processes: int) -> Policy:
    """The policy for each of `processes` processes, so that together they keep to `policy`.

    If there are more processes than the limit, each process still admits one request after idling,
    so the first burst can exceed the limit; afterwards all together keep to it.
    """
    return replace(policy, processes=processes)


class Check(NamedTuple):
    """One caller under one policy.

    `cost` is the number of requests that this request counts for, but at most the limit, so that it
    can be served at all. `counted_before` of them were counted before, when less was known.
    `charged_later` is what the request may still be charged; Retry-After includes it. With
    `charge_always`, the cost is counted even beyond the limit; the debt beyond it is capped at one
    minute (OVERDRAFT).
    """

    policy: Policy
    key: str
    cost: int = 1
    counted_before: int = 0
    charged_later: int = 0
    charge_always: bool = False


@dataclass(slots=True)
class Standing:
    """How a caller stands under a policy: requests left, and microseconds until one more."""

    policy: Policy
    remaining: int
    reset: int

    def field_item(self) -> bytes:
        return b"%b;r=%d;t=%d" % (self.policy.quoted, self.remaining, -(-self.reset // 1_000_000))


@dataclass(slots=True)
class Decision:
    """Whether the request is admitted; if not, the violated policies and the seconds to wait."""

    allowed: bool
    standings: list[Standing]
    violated: tuple[str, ...] = ()
    retry_after: float = 0.0

    @property
    def retry_after_seconds(self) -> int:
        """Whole seconds; waiting exactly that long succeeds."""
        return max(1, math.ceil(self.retry_after))

    def fields(self) -> list[tuple[bytes, bytes]]:
        """RateLimit-Policy and RateLimit as raw header fields."""
        return [
            (b"ratelimit-policy", b", ".join([s.policy.description for s in self.standings])),
            (b"ratelimit", b", ".join([s.field_item() for s in self.standings])),
        ]
