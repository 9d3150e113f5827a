extends = ["claude-code", "docker-client"]
