"""How a list of patients is cut into parts that are worked on side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from components.core.errors import BadInput

Item = TypeVar("Item")


def shard_of(items: Sequence[Item], shard: str) -> list[Item]:
    """The items whose 0-based number leaves i when divided by n.

    Args:
        shard: "i/n", with 0 <= i < n.

    Raises:
        BadInput: it is not of that form.
    """
    index, _, count = shard.partition("/")
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise BadInput("shard", f"'{shard}' is not 'i/n' with i < n", "give 0/1 for all patients")
    return list(items[int(index) :: int(count)])
