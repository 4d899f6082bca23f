"""Build the exercises for students, and grade their submissions."""
