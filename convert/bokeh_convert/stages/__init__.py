"""The stages of a conversion, in order: read, lower, rewrite, quantize, verify, judge, write.

There is one module per stage. A stage takes the results of earlier stages, returns a frozen
dataclass, and imports no later stage. `bokeh_convert.pipeline` calls the stages. The work itself is
in the packages `sources`, `graph`, `passes`, `quantize` and `verify`.
"""
