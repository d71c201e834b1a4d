"""Damaged and malicious files, by the thousand, through the functions that the command line uses.

python -m tests.fuzz --kind npz --count 10000 --seed 0
"""
