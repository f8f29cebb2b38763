"""The commands as a person types them: arguments and help texts; the work itself is next door."""
