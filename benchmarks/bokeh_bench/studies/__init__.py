"""Studies behind the tables of the documentation; each is run by hand."""
