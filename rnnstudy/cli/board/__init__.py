"""The command `rnnstudy board`: TensorBoard on the runs below a folder."""
