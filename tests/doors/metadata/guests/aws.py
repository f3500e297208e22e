"""Amazon's SDK for Python: where it is, and whose credentials it has."""

import json

from botocore.utils import IMDSFetcher, InstanceMetadataFetcher, InstanceMetadataRegionFetcher

fetcher = IMDSFetcher(timeout=5)
token = fetcher._fetch_metadata_token()
print(
    json.dumps(
        {
            "region": InstanceMetadataRegionFetcher(timeout=5).retrieve_region(),
            "credentials": InstanceMetadataFetcher(timeout=5).retrieve_iam_role_credentials(),
            "id": fetcher._get_request("latest/meta-data/instance-id", None, token=token).text,
        }
    )
)
