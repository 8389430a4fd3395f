"""What guidelines cost in help and save in harm: rows, systems, judge, figures, report."""
