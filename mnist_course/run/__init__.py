"""Run the lessons: one run, or a study of many."""
