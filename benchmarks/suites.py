"""What can be measured: processes of one node on one core, nodes between each other on all, cells, unikernels, drivers, and boots."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import boot_cases, cases, cell_cases, driver_cases, node_cases, unikernel_cases
from benchmarks.cases import Case, Target
from benchmarks.sides import Side, sides_of_boot, sides_of_cells, sides_of_drivers, sides_of_nodes, sides_of_one_node, sides_of_unikernels


@dataclass(frozen=True)
class Suite:
    """What is measured, on whom, and what it should come to.

    Args:
        sides: the columns, given the folder with the compiled Erlang modules.
        is_pinned: whether every side has to do with one and the same core.
        about: how the sides are run, for the header.
    """

    cases: tuple[Case, ...]
    targets: tuple[Target, ...]
    sides: Callable[[str], tuple[Side, ...]]
    is_pinned: bool
    about: str


SUITES = {
    "processes": Suite(cases.CASES, cases.TARGETS, sides_of_one_node, True, "every side on one core; Erlang with one scheduler (+S 1:1)"),
    "nodes": Suite(
        node_cases.CASES,
        node_cases.TARGETS,
        sides_of_nodes,
        False,
        "all cores; our nodes pin themselves to one each; Erlang with its default schedulers, and with some that spin",
    ),
    "cells": Suite(
        cell_cases.CASES, cell_cases.TARGETS, sides_of_cells, False, "all cores; one node, and cells that run where the kernel puts them"
    ),
    "unikernels": Suite(
        unikernel_cases.CASES,
        unikernel_cases.TARGETS,
        sides_of_unikernels,
        False,
        "all cores; one node where the kernel puts it, unikernels that are called often on the last core",
    ),
    "drivers": Suite(
        driver_cases.CASES, driver_cases.TARGETS, sides_of_drivers, False, "all cores; one node; machines of QEMU's beside it"
    ),
    "boot": Suite(boot_cases.CASES, boot_cases.TARGETS, sides_of_boot, False, "all cores; one node; the cores of what boots beside it"),
}
