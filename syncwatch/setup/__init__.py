"""Harbor's registries, rules, webhooks and robot as a file: compare, change, read back."""
