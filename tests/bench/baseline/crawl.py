# cloud-init's data source of EC2 and nothing else of it; prints what it found and how long it took.
import json
import time

from cloudinit import helpers, version
from cloudinit.sources.DataSourceEc2 import DataSourceEc2

source = DataSourceEc2({}, None, helpers.Paths({"cloud_dir": "/run/cloud", "run_dir": "/run/cloud-init"}))
began = time.monotonic()
found = source._get_data()
seconds = time.monotonic() - began
assert found, "this is not EC2"
print(json.dumps({"version": version.version_string(), "seconds": seconds,
                  "instance_id": source.metadata["instance-id"], "user_data": source.userdata_raw.decode()}))
