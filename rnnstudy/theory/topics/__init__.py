"""The sections of the theory page: figures, tables, text."""
