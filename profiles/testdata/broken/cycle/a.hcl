extends = ["../extends-cycle.hcl"]
