"""How the small models that have learned something are trained: from what, with what networks, and how judged."""
