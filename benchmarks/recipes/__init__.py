"""The programs that the benchmark compares, a module per library.

Each function trains a network and returns a function that predicts digits. It gets images and labels as the
dataset has them and nothing else, so the preparation of the arrays belongs to its time, and it never sees the
images on which it is scored. A module imports its library at its top: importing the module is the import time.
"""
