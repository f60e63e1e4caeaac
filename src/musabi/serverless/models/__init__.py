"""The weights of a job: found on the volume, or fetched once, and kept while they are used."""
