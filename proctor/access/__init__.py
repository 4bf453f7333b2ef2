"""Who may do what: roles, API keys for programs and staff, and tokens for candidates."""
