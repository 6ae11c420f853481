"""The report of a benchmark: its data, how it is shown, and how it is held to an older one."""
