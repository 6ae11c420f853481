"""The stages of a conversion in their order: read, lower, rewrite, quantize, verify, judge, write.

One module for each. A stage takes what the stages before it made and returns a frozen dataclass; it
imports none that comes after it. `bokeh_convert.pipeline` calls them. What a stage works with is in
the package of that subject: `sources`, `graph`, `passes`, `quantize`, `verify`.
"""
