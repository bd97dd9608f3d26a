project = "example-project"
bucket  = "example-images"
