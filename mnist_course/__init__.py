"""What runs the course: `course`, `report`, `doctor` and the command line, `cli`. No lesson imports it."""
