"""The web pages of proctors and reviewers: templates, styles and scripts, served as they are."""
