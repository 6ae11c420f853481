"""The stages of a conversion, in order.

They are read, lower, rewrite, quantize, verify, judge, complete, compile and write. There is one
module per stage. A stage takes the results of earlier stages, returns a frozen dataclass, and
imports no later stage. `bokeh_convert.pipeline` calls the stages. The work itself is in the
packages `sources`, `graph`, `passes`, `quantize`, `verify` and `npu`.
"""
