"""Problems with long dependencies; one file a task."""
