# What is made of devices.
#
#   areas.py      a disk divided into named areas, each of which is a capability
