"""`python -m bokeh_convert.train`, the same as `bokeh-train`."""

from bokeh_convert.train.cli import main

main()
