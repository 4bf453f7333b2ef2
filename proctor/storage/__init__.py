"""Where frames, sessions, reports and dumps are kept."""
