"""The AMI that a request names: by its id, or by a parameter that stands for the newest of a family.

Rules
-----
1. ``resolve:ssm:NAME`` is the newest image of the family, or the image of the name, that NAME stands for: those names
   under which Debian and Canonical tell theirs, and ``/aws/service/guesthouse/images/FAMILY`` for every other.
2. The project's own images come before those that are shared with it, then public ones.

Source: AWS Systems Manager User Guide, "Calling AMI public parameters"; wiki.debian.org, "Cloud/AmazonEC2Image";
Ubuntu on AWS, "Find images".
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.images import view
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.model.resources import Image, ImageState

RESOLVE = "resolve:ssm:"
# Parameters, and the families of the house that they stand for.
PARAMETERS = (
    (re.compile(r"/aws/service/debian/release/(\d+)/latest/amd64"), r"debian:\1"),
    (
        re.compile(r"/aws/service/canonical/ubuntu/server/([\d.]+)/stable/current/amd64/hvm/ebs-gp[23]/ami-id"),
        r"ubuntu:\1",
    ),
    (re.compile(r"/aws/service/guesthouse/images/([a-z0-9.:_-]+)"), r"\1"),
)


def ami(stock: Stock, said: str) -> Image:
    """The AMI that is named; raises `Fault`."""
    if not said.startswith(RESOLVE):
        return ids.one(view.amis(stock), "ami", said)
    image = of_parameter(stock, said.removeprefix(RESOLVE))
    if image is None:
        raise Fault(
            "InvalidParameterValue", f"The parameter {said.removeprefix(RESOLVE)[:200]} stands for no image here"
        )
    return image


def of_parameter(stock: Stock, name: str) -> Image | None:
    """The newest image for which a parameter stands, None where there is none."""
    for pattern, family in PARAMETERS:
        if match := pattern.fullmatch(name):
            return _newest(view.amis(stock).values(), match.expand(family), stock.project.id)
    return None


def _newest(images: Iterable[Image], family: str, project: str) -> Image | None:
    fitting = [image for image in images if image.state is ImageState.READY and family in (image.family, image.name)]
    return max(fitting, key=lambda image: (image.project == project, not image.public, image.created_at), default=None)
