"""Many runs: which are left to do, which process does them, which stay unfinished."""
