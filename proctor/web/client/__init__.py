"""The client for browsers: scripts that pages of any allowed origin import, served as they are."""
