"""Files by their bytes: one family a module, with the same face (`family.Family`), and what they share."""
