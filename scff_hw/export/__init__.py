"""What leaves the library: networks of finished runs as files that other runtimes and machines read."""
