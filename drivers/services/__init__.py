# What programs use devices for, on top of their drivers and of the handles that the device manager gives out.
#
#   areas.py        a disk divided into named areas, each of which is a capability
#   blocks.py       any disk, or part of one, by bytes and with a cache
#   partitions.py   which parts a disk has: MBR and GPT
#   filesystem.py   what the readers of file systems have in common;  fat.py  iso9660.py  image.py  whichever of these there is
#   udp.py          an endpoint of UDP, over a network driver or a handle;  links.py  what it needs of either
#   ethernet.py, arp.py, ipv4.py, icmp.py  what is in its frames;  drops.py  why one is dropped
#   console.py      a terminal of a serial port, or of VGA and keyboard;  editing.py  the line that is being typed there
#   host.py         a machine with a console, and its other end: for who sits there
