"""Recipes: one system, one file, the loop in plain sight."""
