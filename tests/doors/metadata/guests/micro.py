"""The first-boot program of our own micro image."""

import json

from guesthouse.guestfiles.micro.firstboot import ec2

seed = ec2.read(ec2.Service())
told = {"problems": seed.problems, "metadata": seed.metadata, "keys": seed.keys, "user_data": seed.userdata.decode()}
print(json.dumps(told))
