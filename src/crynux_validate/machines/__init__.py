"""Who can agree with whom: GPU models, environments, rosters, draws."""
