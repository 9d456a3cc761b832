"""Topics of the theory page: figures, tables, text."""
