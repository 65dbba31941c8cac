"""The code that boots, for the cores of a PC, and what Python knows of it.

Inside:

    layout.inc      addresses, offsets and codes; layout is the same for Python
    mbr.asm         the first sector: it loads stage 2 and checks it
    stage2.asm      stage 2, in parts: slave, entry, primary, calling, firmware, faults, serial (.inc)
    mbr.bin, stage2.bin     both as NASM assembles them: `nasm -f bin -o mbr.bin mbr.asm`
    layout          see above
    code            the two, as bytes
"""
