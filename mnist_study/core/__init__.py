"""The vocabulary: settings, trials, homes, ledger, identity. Imports no other room."""
