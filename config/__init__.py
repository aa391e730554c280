"""What an operator may change: settings, where they come from, and examples."""
