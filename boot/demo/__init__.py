"""What `beamlike demo` runs: a system of nodes under a killer, clients that call all the time, and a verdict on what was kept.

Inside, from the bottom up:

    journal             what must not be forgotten: memory of the owner, which no node takes with it
    store, pool         the key-value service, of process pairs; the workers
    clients, killer     who calls, who kills
    program             what runs in the nodes, which import nothing above this
    account, watch      what is made of the journal; what it costs the machine
    verdict, show       the verdict, and the live table
"""
