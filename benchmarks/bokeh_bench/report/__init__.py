"""The benchmark report: console, Markdown and HTML output, and the comparison with an older one."""
