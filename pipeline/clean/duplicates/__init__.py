"""Records that say the same, or nearly: found by hashes, verified, and one of them kept."""
