extends = ["./cycle/a.hcl"]
