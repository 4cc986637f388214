"""Template, style sheet and script of the HTML report."""
