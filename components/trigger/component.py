"""KFP steps: the first and the last of a run that starts only on new data."""

from typing import NamedTuple

from components.images import component


@component
def find_new_cohorts_op(cohorts: str, profile: str, seen: str) -> NamedTuple(  # type: ignore[valid-type]
    "Found", [("is_new", bool), ("digests", str)]
):
    """Whether any manifest's content is unknown to the record at `seen`, and its digests.

    Args:
        cohorts: JSON list of {name, manifest, ...}.
        profile: name of the profile; each has an entry of its own.
        seen: address of the record: s3://bucket/key.json, or a path.
    """
    import json
    from collections import namedtuple

    from components.trigger.seen import digests, is_new

    found = digests(json.loads(cohorts))
    outputs = namedtuple("outputs", ["is_new", "digests"])
    return outputs(is_new(found, profile, seen), json.dumps(found, sort_keys=True))


@component
def remember_cohorts_op(digests: str, profile: str, seen: str) -> None:
    """Write the digests that the run began with into the record; only after it succeeded."""
    import json

    from components.trigger.seen import remember

    remember(json.loads(digests), profile, seen)
