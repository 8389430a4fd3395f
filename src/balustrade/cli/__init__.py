"""The commands: `balustrade COMMAND`; a module each, imported when asked for."""
