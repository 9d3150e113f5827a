workspace { mode = "overlai" }
