"""What proctors see of exams while they run: a line per session, and what has changed since."""
