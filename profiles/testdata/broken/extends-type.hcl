extends = "default"
