"""The durable loop of report section 3.2.3: cycle, steps, journal, runs, choice of windows, annotation tasks."""
