"""`python -m bokeh_bench` is `bokeh-bench`."""

from bokeh_bench.cli import main

if __name__ == "__main__":
    main()
