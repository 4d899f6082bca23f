"""Hand the course out: a student's copy, and a bundle for machines without a network."""
