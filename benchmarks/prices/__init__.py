"""What it costs to burn honest stake, and whether a draw can be steered (protocol P4a-P4e, J2-J5, L3, L4).

`money` is the settlement of many groups at once; a test compares it with the library's. `pools` draws many groups from
the same nodes. `alone` prices every way to behave in groups that are drawn by themselves; `together` does it for groups
that wait in one queue, and for groups that are opened at a chosen moment. `exact` has the inequality.
"""
