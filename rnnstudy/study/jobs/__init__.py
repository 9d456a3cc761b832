"""From a command line to checked jobs; nothing is trained here."""
