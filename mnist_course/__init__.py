"""The package behind the command `mnist-course`: it runs the lessons, reports, grades and hands the course out."""
