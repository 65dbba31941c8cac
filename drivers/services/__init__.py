# What programs use devices for, on top of their drivers and of the handles that the device manager gives out.
#
#   areas.py        a disk divided into named areas, each of which is a capability
#   blocks.py       any disk, or part of one, by bytes and with a cache
#   partitions.py   which parts a disk has: MBR and GPT
#   filesystem.py   what the readers of file systems have in common;  fat.py  iso9660.py  image.py  whichever of these there is
