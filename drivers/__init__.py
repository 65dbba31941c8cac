"""Port I/O: device drivers as supervised servers over an I/O space with interchangeable backends.

Nothing is in here yet.
"""
