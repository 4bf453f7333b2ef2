"""The rules that Proctor comes with, one module each, found through entry points like anybody else's.

What their settings start from is what proctoring services use in the field; every one can be changed in an
exam policy, and none of them is a verdict: they rank sessions for people to look at.
"""
