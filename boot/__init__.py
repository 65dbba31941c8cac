"""The top, which may import all: co-operative boot, boot images, init goals, and the command line `beamlike`.

Nothing is in here yet.
"""
