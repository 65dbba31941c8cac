"""The top, which may import all: co-operative boot, boot images, init goals, and the command line `beamlike`.

Inside:

    cli         the commands
    logs        what they show of the log
    demo/       the program of `beamlike demo`, and its display
"""
