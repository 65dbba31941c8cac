# A driver a device: libraries over an I/O space, with no process of their own.
