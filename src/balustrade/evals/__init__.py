"""How well guards judge: tasks, metrics, suites, reports."""
