"""Rows of tags."""

from __future__ import annotations

from guesthouse.doors.ec2 import tags
from guesthouse.doors.ec2.listing import Listing
from guesthouse.doors.ec2.rows import Row, see

_TAGS = Listing(
    member="Tags",
    nouns=tags.NOUNS,
    items=tags.tag_descriptions,
    known_by=("ResourceId", "Key"),
    finish=tags.plain,
)

ROWS = (
    Row("CreateTags", "Put tags on things, on all that are named or on none", tags.create, takes="Resources Tags"),
    Row("DeleteTags", "Take tags off things, on all that are named or on none", tags.delete, takes="Resources Tags"),
    see("DescribeTags", "List the tags of all things", _TAGS),
)
