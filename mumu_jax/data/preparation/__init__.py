"""What the commands prepare and doctor do: jobs, summaries, counts and diagnoses."""
