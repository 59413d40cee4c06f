"""The blockchain's part: membership and stakes, groups, commitments, verdicts, money."""
