# cells.inside: what runs in the OS process of a cell, behind its walls, and in the zygote that forks it.
#
#   zygote.py    the OS process that forks cells
#   life.py      a cell, from its fork to its end
#   node.py      the actor core without trio;  bell.py  what it waits for
#   door.py      the ring to the gateway
#   program.py   the source that it runs
#   wasm.py      instead: the WebAssembly that it runs;  imports.py  what a module can call;  component.py  a component;  mail.py  the ring
#   files.py     `open` and `connect`, served by the trusted side
