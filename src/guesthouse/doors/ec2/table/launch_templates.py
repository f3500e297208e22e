"""Rows of launch templates, and of placement groups."""

from __future__ import annotations

from guesthouse.doors.ec2 import launch_templates, placement
from guesthouse.doors.ec2.filters import nothing
from guesthouse.doors.ec2.listing import Listing, Named, by_arguments
from guesthouse.doors.ec2.rows import Row, see
from guesthouse.doors.ec2.table.instances import RUN_HARMLESS, RUN_TAKES
from guesthouse.model.resources import Role

_DATA = "LaunchTemplateData"
_TAKES = " ".join(
    f"{_DATA}.{name}"
    for name in (*RUN_TAKES.split(), "TagSpecifications")
    if name not in ("MinCount", "MaxCount", "LaunchTemplate", "PrivateIpAddress", "SubnetId")
)
_HARMLESS = {f"{_DATA}.{name}": value for name, value in RUN_HARMLESS.items()}

_TEMPLATES = Listing(
    member="LaunchTemplates",
    nouns=launch_templates.NOUNS,
    items=launch_templates.templates,
    named=(
        Named("LaunchTemplateIds", "LaunchTemplateId", "InvalidLaunchTemplateId.NotFound", "launch template ID"),
        Named("LaunchTemplateNames", "LaunchTemplateName", "InvalidLaunchTemplateName.NotFoundException",
              "launch template"),
    ),
)  # fmt: skip
_GROUPS = Listing(
    member="PlacementGroups",
    nouns=placement.NOUNS,
    items=placement.groups,
    named=(
        Named("GroupNames", "GroupName", "InvalidPlacementGroup.Unknown", "Placement Group"),
        Named("GroupIds", "GroupId", "InvalidPlacementGroup.Unknown", "Placement Group"),
    ),
)  # fmt: skip
_VERSIONS = Listing(
    member="LaunchTemplateVersions",
    nouns=launch_templates.NOUNS,
    items=launch_templates.versions,
    chooses=by_arguments(launch_templates.is_asked_for),
    finish=launch_templates.as_told,
    aliases={
        "http-protocol-ipv4": "LaunchTemplateData.MetadataOptions.HttpEndpoint",
        "iam-instance-profile": nothing,
        "is-default-version": "DefaultVersion",
    },
)
_ONE = "LaunchTemplateId LaunchTemplateName"

ROWS = (
    Row("CreateLaunchTemplate", "Keep what RunInstances is told under a name", launch_templates.create,
        takes=f"LaunchTemplateName VersionDescription {_TAKES}", harmless=_HARMLESS, tags=("launch-template",)),
    Row("CreateLaunchTemplateVersion", "Keep another version of a launch template", launch_templates.create_version,
        takes=f"{_ONE} SourceVersion VersionDescription {_TAKES}", harmless=_HARMLESS),
    see("DescribeLaunchTemplates", "List launch templates", _TEMPLATES),
    see("DescribeLaunchTemplateVersions", "List versions of launch templates", _VERSIONS,
        takes=f"{_ONE} Versions MinVersion MaxVersion"),
    Row("ModifyLaunchTemplate", "Have another version be the default one", launch_templates.modify,
        takes=f"{_ONE} DefaultVersion"),
    Row("DeleteLaunchTemplate", "Delete a launch template", launch_templates.delete, takes=_ONE),
    Row("DeleteLaunchTemplateVersions", "Delete versions of a launch template, but for the default one",
        launch_templates.delete_versions, takes=f"{_ONE} Versions"),
    Row("GetLaunchTemplateData", "Tell what would launch an instance like one that there is",
        launch_templates.data_of, takes="InstanceId", role=Role.VIEWER),
    Row("CreatePlacementGroup", "Make a placement group; there is one host", placement.create,
        takes="GroupName Strategy PartitionCount", harmless={"SpreadLevel": "host"}, tags=(placement.KIND,)),
    see("DescribePlacementGroups", "List placement groups", _GROUPS),
    Row("DeletePlacementGroup", "Delete a placement group that no instance is in", placement.delete,
        takes="GroupName"),
)  # fmt: skip
