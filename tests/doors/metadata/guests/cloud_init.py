"""Debian's cloud-init, as it is: a data source finds out what it can. Arguments: its name, a folder of our own.

The folder has `dmi`, the firmware's words of the machine, where the kernel would have them.
"""

import json
import sys
from pathlib import Path

from cloudinit import distros, dmi, helpers

WHICH, FOLDER = sys.argv[1], Path(sys.argv[2])
# Which machine this is stands in the kernel's files of this host, which are not ours to change; and in a container,
# where the tests may run, cloud-init would not look there.
dmi.DMI_SYS_PATH = str(FOLDER / "dmi")
dmi.is_container = lambda: False


def _source(module, name):
    paths = helpers.Paths({"cloud_dir": str(FOLDER / "cloud"), "run_dir": str(FOLDER / "run")})
    distro = distros.fetch("debian")("debian", {"default_user": {"name": "debian"}}, paths)
    config = {
        "users": ["default"],
        "datasource": {"GCE": {"metadata_url": "http://169.254.169.254/computeMetadata/v1/"}},
    }
    return getattr(module, name)(config, distro, paths)


def _found(source):
    if not source.get_data():
        raise SystemExit(f"{WHICH} found nothing")
    return {
        "id": source.get_instance_id(),
        "hostname": str(source.get_hostname(fqdn=True).hostname),
        "keys": source.get_public_ssh_keys(),
        "user_data": source.get_userdata_raw().decode(),
        "zone": source.availability_zone,
        "region": source.region,
        "network": source.network_config,
    }


def ec2():
    from cloudinit.sources import DataSourceEc2

    source = _source(DataSourceEc2, "DataSourceEc2")
    return {**_found(source), "cloud": source.cloud_name, "version": source.get_metadata_api_version()}


def gce():
    from cloudinit.sources import DataSourceGCE

    return _found(_source(DataSourceGCE, "DataSourceGCE"))


def azure():
    """The part of it that asks the metadata service; the rest wants Azure's wire server."""
    from cloudinit.sources import DataSourceAzure

    source = _source(DataSourceAzure, "DataSourceAzure")
    told = source.get_imds_data_with_api_fallback(retries=0)
    return {
        "keys": source._get_public_keys_from_imds(told),
        "hostname": DataSourceAzure._hostname_from_imds(told),
        "user": DataSourceAzure._username_from_imds(told),
        "user_data": DataSourceAzure._userdata_from_imds(told),
        "network": DataSourceAzure.generate_network_config_from_instance_network_metadata(told["network"]),
        "valid": source.validate_imds_network_metadata(told),
    }


print(json.dumps({"ec2": ec2, "gce": gce, "azure": azure}[WHICH]()))
