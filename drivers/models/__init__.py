# The port bus's devices: NAME.h says how one is plugged in and what the host may do to it, NAME.c is what it does, NAME.py is the host's
# side for Python, where there is one.
