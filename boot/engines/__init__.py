"""Machines that boot an image. Import what you need by its module: the OS process of a core imports some of it, and should be quick.

Inside:

    machine     what all have in common: `BootMachine`, `BootResult`
    processes   Unicorn, an OS process for each core; core_process is what runs there
    threads     Unicorn, a thread for each core
    lockstep    Unicorn, one core after the other: the same every time
    qemu        QEMU and its firmware; monitor is how it is spoken to
    outcome     how an attempt ended, and the table of faults: what it is to the caller
    board       what the engines with Unicorn share: the machine around the cores
    core, bus   one of them, and what it has outside of itself; bios and firmware: what it calls
    disk        the medium, and the faults that are planned
    memory, handoff, events     what is left after a boot
"""
