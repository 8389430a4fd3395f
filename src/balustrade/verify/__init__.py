"""What proves decisions afterwards: records of them, to begin with."""
