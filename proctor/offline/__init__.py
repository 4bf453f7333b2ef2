"""Reports on dumps without a server: the same analysis, in a worker process too, for people and programs."""
