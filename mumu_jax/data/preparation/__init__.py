"""The work of the commands prepare and doctor: jobs, summaries, counts and diagnoses."""
