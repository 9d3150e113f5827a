extends = ["defualt", "./missing.hcl", "nothing-like-it", ""]
