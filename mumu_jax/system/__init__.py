"""The machine: files, signals, processes, workers, the terminal and the compilation cache."""
