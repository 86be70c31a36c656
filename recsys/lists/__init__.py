"""Lists of recommendations: ranked, in files, kept on disk, and anybody's."""
