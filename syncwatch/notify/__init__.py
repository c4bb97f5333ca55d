"""The outgoing webhook: what was verified or failed, told to one receiver as CloudEvents."""
