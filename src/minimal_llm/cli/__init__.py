"""The command line, `minimal-llm`."""
