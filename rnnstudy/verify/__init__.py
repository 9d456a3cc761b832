"""Checks that a sceptical user runs first: is every gradient what it is said to be?"""
