"""Benchmarks: beamlike beside Erlang, trio, Pykka, xoscar and Thespian, in one run (`python -m benchmarks`).

cases.py        what is measured, and the targets
sides.py        who is measured, and how one side is run in an OS process of its own
bench.py        the sampler that every Python side uses
ours.py         the cases written with beamlike
peers/          the same cases written for each of the others
machine.py      describes the machine
table.py        the tables
"""
