# Devices as processes: a server for each, what hands them out, and what an owner may do with one.
#
#   device.py      a device of a machine: its resources, its driver while that runs, its owner and grants
#   server.py      the server of a device, and what an owner and it tell each other
#   grants.py      what opening a device gives: rights that overlap nobody's, and can be revoked
#   manager.py     supervises the servers of a machine's devices, and hands them out;  opening.py  what programs call
#   kinds.py       the kinds of devices;  finding.py, finding_virtio.py  which devices a machine has
