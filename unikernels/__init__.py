"""C unikernel nodes: the toolkit that builds a C program into a node, starts it, and joins it to the same mailboxes.

Nothing is in here yet.
"""
