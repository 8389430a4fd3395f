"""How work is run: drivers and combinators of flows; none of them knows what a guard is about."""
