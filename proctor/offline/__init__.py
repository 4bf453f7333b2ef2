"""Reports on dumps without a server: the same analysis in this process, for people and for programs."""
