limits { memory = "512" }
audit { size = "99999999999TiB" }
artifacts { size = "-1GB" }
