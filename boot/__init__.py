"""The top, which may import all: co-operative boot, boot images, init goals, and the command line `beamlike`.

Inside:

    cli         the commands
    logs        what they show of the log
    attach, tables, looking, shell      those that look into a running system, from outside
    goals, board, keeping, first_boot, init, init_requests, init_command     init goals, and the command for them
    inputs      what is typed at a prompt, of both kinds
    console, talking    the prompt on a machine's own console
    image, errors   what boots, as bytes; what goes wrong with it
    guest/      the code in it
    engines/    the machines that boot it
    demo/       the program of `beamlike demo`, and its display
"""
