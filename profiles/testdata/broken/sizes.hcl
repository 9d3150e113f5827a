workspace { size = "0" }
limits { memory = "4G" }
limits { output = 100 }
artifacts { size = "1.5GiB" }
audit { size = "10KiB" }
