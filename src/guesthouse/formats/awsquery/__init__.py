"""AWS's query protocol, as EC2 speaks it: flat parameters in, XML out, both by the service's own shapes.

::

    shapes.py    what requests and answers look like, read from a file
    request.py   "Filter.1.Value.1=web" -> {"Filters": [{"Values": ["web"]}]}
    answer.py    {"Reservations": [...]} -> XML
    fault.py     why a request is refused, in the protocol's own words

Source: the protocol ``ec2`` of Smithy ("AWS EC2 query protocol").
"""
