"""Many nodes: one OS process per core, the mailboxes between them, their deaths, names and placement.

Nothing is in here yet.
"""
