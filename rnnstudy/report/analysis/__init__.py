"""Runs reduced to figures: names, summaries, intervals, paired comparisons."""
