"""Raw files as records: where they lie, how they are packed and encoded, and the rows they hold."""
