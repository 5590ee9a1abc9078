"""What is done to the words of a record: looked at as code points, mended by rules, masked, measured."""
