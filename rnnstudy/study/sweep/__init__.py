"""Many runs: which are left to do, who does them, what is left unfinished."""
