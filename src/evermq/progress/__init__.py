"""Where the progress of groups is kept."""
