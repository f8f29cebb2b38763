"""What the commands do: files in, jobs of the services, files and figures out."""
