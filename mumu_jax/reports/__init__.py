"""Pages, figures and tables about runs: their files read, measured, drawn and put together."""
