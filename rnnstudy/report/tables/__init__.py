"""The tables of the report, by run and by pair, in every format."""
