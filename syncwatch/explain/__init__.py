"""Why an image goes to a destination, or why not: rule by rule, by Harbor's own semantics."""
