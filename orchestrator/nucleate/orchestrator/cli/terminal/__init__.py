"""What all commands share towards the terminal: options, printing, progress, exit codes."""
