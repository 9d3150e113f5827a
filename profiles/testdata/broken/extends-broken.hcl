extends = ["./cycle/broken.hcl", "./cycle/broken.hcl"]

limits { time = "soon" }
