# caps: exclusions, what a process may *not* do, as pure values. Imports only the standard library.
#
#   layers.py        Layer (one generation's exclusions, canonical and interned), extend, permits, require
#   current.py       check: the same for whoever is running now; the core installs the hook that says who that is
#   decisions.py     which decisions may be kept for the next time
#   kinds.py         the table: one row per kind of access; define adds an application's own; all_but leaves a process few
#   matching.py      what a row's matching must be able to do, and the cover of "all"
#   ranges.py, names.py, paths.py, endpoints.py, application.py    the five ways of matching
#   refused.py       what layers refuse as ranges: for C that checks port I/O
#   errors.py        CapabilityError
#
# The rules are C1-C9 in docs/semantics.md. Exclusions contain accidents; hostile Python needs a cell (`cells`).

from caps.current import check, set_current_layers
from caps.decisions import is_lasting
from caps.errors import CapabilityError
from caps.kinds import all_but, define
from caps.layers import Layer, Layers, Term, extend, layer, permits, require
from caps.refused import refused_ranges

__all__ = [
    "CapabilityError",
    "Layer",
    "Layers",
    "Term",
    "all_but",
    "check",
    "define",
    "extend",
    "is_lasting",
    "layer",
    "permits",
    "refused_ranges",
    "require",
    "set_current_layers",
]
