format = "raw"
